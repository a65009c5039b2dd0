package main

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// registry serves images to those who know the password: the reading part of the OCI distribution specification. Every
// repository has the same images.
type registry struct {
	user, password string
	blobs          string            // folder of blobs, each named by the digits of its digest
	tags           map[string]string // to a manifest's digest
}

var (
	// requested is a repository's manifest or blob; a repository's name may have parts.
	requested = regexp.MustCompile(`^/v2/[a-z0-9._/-]+/(manifests|blobs)/([A-Za-z0-9._:-]+)$`)
	digests   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func (r *registry) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		known := subtle.ConstantTimeCompare([]byte(user), []byte(r.user)) &
			subtle.ConstantTimeCompare([]byte(password), []byte(r.password))
		if known != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="bench"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		words := requested.FindStringSubmatch(q.URL.Path)
		switch {
		case q.Method != http.MethodGet && q.Method != http.MethodHead:
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
		case q.URL.Path == "/v2/":
			w.WriteHeader(http.StatusOK)
		case words == nil:
			refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
		default:
			r.serve(w, q, words[1] == "manifests", words[2])
		}
	})
}

func (r *registry) serve(w http.ResponseWriter, q *http.Request, manifest bool, digest string) {
	if tagged, ok := r.tags[digest]; manifest && ok {
		digest = tagged
	}
	if !digests.MatchString(digest) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	path := filepath.Join(r.blobs, strings.TrimPrefix(digest, "sha256:"))
	kind := "application/octet-stream"
	if manifest {
		var content struct{ MediaType string }
		if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &content) == nil {
			kind = content.MediaType
		}
	}
	if _, err := os.Stat(path); err != nil {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeFile(w, q, path)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code}}})
}
