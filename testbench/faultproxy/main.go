// A proxy between one client and the API server that fails on demand. Tests put it between the provisioner and the
// cluster, say which request is to fail and how, and look at what was asked.
//
// It is driven over its standard input, one JSON object a line, and answers each with one line on its standard output;
// README.md describes them. It ends at the end of its input, so that nothing is left of it when a test dies.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
)

// command is one line of the control channel.
type command struct {
	Do   string `json:"do"`
	From int    `json:"from"`
	rule
}

// answer is what a command is answered with.
type answer struct {
	Error    string    `json:"error,omitempty"`
	Requests []request `json:"requests,omitempty"`
	Tokens   []token   `json:"tokens,omitempty"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `FILE` (JSON) of the cluster to forward to")
	admin := flag.String("admin", "", "kubeconfig `FILE` (JSON) of an administrator: bind each token to a Secret of its own")
	life := flag.Int64("life", 0, "with -admin, life in `SECONDS` that tokens seem to have")
	listen := flag.String("listen", "127.0.0.1:0", "`ADDRESS` to listen at")
	flag.Parse()
	if err := run(*kubeconfig, *admin, *life, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "faultproxy:", err)
		os.Exit(1)
	}
}

func run(kubeconfig, admin string, life int64, listen string) error {
	// The server's own complaints about connections that were cut on purpose would bury a test's output.
	log.SetOutput(io.Discard)
	upstream, err := readCluster(kubeconfig)
	if err != nil {
		return err
	}
	p := newProxy(upstream)
	if admin != "" {
		administrator, err := readCluster(admin)
		if err != nil {
			return err
		}
		p.rotation = &rotation{admin: administrator, life: life}
	}
	ca, err := p.listen(listen)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]string{"address": p.address, "certificate_authority_data": ca}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := out.Encode(p.obey(lines.Bytes())); err != nil {
			return err
		}
	}
	return lines.Err()
}

// obey carries out one line of the control channel.
func (p *proxy) obey(line []byte) answer {
	var c command
	err := json.Unmarshal(line, &c)
	if err == nil {
		switch c.Do {
		case "rule":
			err = p.addRule(c.rule)
		case "reset":
			p.reset()
		case "refuse":
			p.refuse()
		case "accept":
			err = p.accept()
		case "log":
			return answer{Requests: p.requestsFrom(c.From)}
		case "tokens":
			return answer{Tokens: p.tokens()}
		default:
			err = errors.New("no such command")
		}
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{}
}
