// Command services is what a company's cluster has around it and tests need: a private image registry, and an admission
// webhook that gives pods a token for a cloud. Its first argument says which.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 0 {
		return errors.New("usage: services registry|webhook [FLAGS]")
	}
	flags := flag.NewFlagSet(words[0], flag.ExitOnError)
	listen := flags.String("listen", "", "`ADDRESS` to listen at")
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	switch words[0] {
	case "registry":
		blobs := flags.String("blobs", "", "`FOLDER` of blobs, each named by its SHA-256 (containerd's content store)")
		credentials := flags.String("credentials", "", "`FILE` with USER:PASSWORD")
		var images []string
		flags.Func("image", "`TAG=DIGEST` of a manifest", func(word string) error {
			images = append(images, word)
			return nil
		})
		_ = flags.Parse(words[1:])
		text, err := os.ReadFile(*credentials)
		if err != nil {
			return err
		}
		user, password, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		r := &registry{user, password, *blobs, map[string]string{}, map[string][]byte{}}
		for _, image := range images {
			tag, digest, _ := strings.Cut(image, "=")
			if err := r.offer(tag, digest); err != nil {
				return fmt.Errorf("%s: %w", image, err)
			}
		}
		server.Handler = r.handler()
		server.Addr = *listen
		return server.ListenAndServe()
	case "webhook":
		certificate := flags.String("certificate", "", "`FILE`")
		key := flags.String("key", "", "`FILE`")
		_ = flags.Parse(words[1:])
		server.Handler = webhook()
		server.Addr = *listen
		return server.ListenAndServeTLS(*certificate, *key)
	}
	return fmt.Errorf("%q is neither registry nor webhook", words[0])
}
