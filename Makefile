# Two commands for a start: `make demo` runs a job on a test cluster of its own, `make test` runs the tests.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
RUNDIR     ?= /run/spark-submit-as
STATEDIR   ?= /var/lib/spark-submit-as
LOGSOCKET  ?= /dev/log
DESTDIR    ?=

BIN      = $(PREFIX)/bin/spark-submit-as
LIBEXEC  = $(PREFIX)/libexec/spark-submit-as-provisioner
DROPIN   = $(PREFIX)/lib/spark-submit-as
CONFIG   = $(SYSCONFDIR)/spark-submit-as/config.yaml
CARGO   ?= cargo

# Paths are compiled in: no caller can change them.
export SSA_CONFIG      = $(CONFIG)
export SSA_PROVISIONER = $(LIBEXEC)
export SSA_RUN_DIR     = $(RUNDIR)
export SSA_STATE_DIR   = $(STATEDIR)
export SSA_LOG_SOCKET  = $(LOGSOCKET)

.PHONY: build install demo test soak matrix bench docs bed-down

build:
	$(CARGO) build --release --locked

# The provisioner can be read by nobody but root: then the kernel lets no process of its account trace it, from exec on.
install: build
	install -D -m 0755 target/release/spark-submit-as $(DESTDIR)$(BIN)
	install -D -m 0711 target/release/spark-submit-as-provisioner $(DESTDIR)$(LIBEXEC)
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/spark-submit-as $(DESTDIR)$(SYSCONFDIR)/sudoers.d
	install -D -m 0644 examples/config.yaml $(DESTDIR)$(SYSCONFDIR)/spark-submit-as/config.yaml.example
	sed 's#/usr/local/bin/spark-submit-as#$(BIN)#' sudoers.d/spark-submit-as \
	  | install -m 0440 /dev/stdin $(DESTDIR)$(SYSCONFDIR)/sudoers.d/spark-submit-as
	for form in accounts group; do sed 's#/usr/local/bin/spark-submit-as#$(BIN)#' sudoers.d/spark-submit-as-$$form \
	  | install -D -m 0440 /dev/stdin $(DESTDIR)$(PREFIX)/share/spark-submit-as/sudoers.d/spark-submit-as-$$form \
	  || exit 1; done
	for name in spark-submit pyspark spark-shell spark-sql; do sed 's#/usr/local/bin/spark-submit-as#$(BIN)#' \
	  packaging/drop-in/spark-submit \
	  | install -D -m 0755 /dev/stdin $(DESTDIR)$(DROPIN)/bin/$$name || exit 1; done
	for unit in packaging/systemd/*; do sed 's#/usr/local/bin/spark-submit-as#$(BIN)#' $$unit \
	  | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit 1; done
	install -D -m 0644 man/spark-submit-as.8 $(DESTDIR)$(PREFIX)/share/man/man8/spark-submit-as.8
	install -D -m 0644 man/spark-submit-as.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/spark-submit-as.yaml.5
	install -D -m 0644 packaging/completions/spark-submit-as.bash \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions/spark-submit-as
	install -D -m 0644 packaging/completions/_spark-submit-as \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_spark-submit-as

# Manual pages and completions, from the command line's and the configuration's own definitions.
docs:
	$(CARGO) run --quiet --locked --example docs

demo:
	tests/bed/demo

test:
	tests/bed/test

# Everything that can be killed, broken or multiplied, at full size.
soak:
	tests/bed/soak

# Every supported line of Spark with every kind of job.
matrix:
	tests/bed/matrix

bench:
	benches/run

bed-down:
	tests/bed/down
