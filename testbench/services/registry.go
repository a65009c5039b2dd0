package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// registry serves images to those who know the password: the reading part of the OCI distribution specification. Every
// repository has the same images.
type registry struct {
	user, password string
	blobs          string            // folder of blobs, each named by the digits of its digest
	tags           map[string]string // to a manifest's digest
	own            map[string][]byte // by digest: manifests and configurations that are not in the folder
}

// manifest is what is used of an OCI image manifest.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

var (
	// requested is a repository's manifest or blob; a repository's name may have parts.
	requested = regexp.MustCompile(`^/v2/[a-z0-9._/-]+/(manifests|blobs)/([A-Za-z0-9._:-]+)$`)
	digests   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// offer puts an image up under a tag: the one of that manifest, with a configuration of its own. It must be another image
// than the node's: once the kubelet has pulled an image with a password, it lets no pod without the password have it,
// under whatever name (KubeletEnsureSecretPulledImages).
func (r *registry) offer(tag, digest string) error {
	var image manifest
	if err := r.read(digest, &image); err != nil {
		return err
	}
	configuration := map[string]any{}
	if err := r.read(image.Config.Digest, &configuration); err != nil {
		return err
	}
	configuration["author"] = "the test bench's registry"
	text, err := json.Marshal(configuration)
	if err != nil {
		return err
	}
	image.Config.Digest, image.Config.Size = r.keep(text), len(text)
	if text, err = json.Marshal(image); err != nil {
		return err
	}
	r.tags[tag] = r.keep(text)
	return nil
}

func (r *registry) read(digest string, into any) error {
	text, err := os.ReadFile(r.path(digest))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (r *registry) path(digest string) string {
	return filepath.Join(r.blobs, strings.TrimPrefix(digest, "sha256:"))
}

func (r *registry) keep(text []byte) string {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	r.own[digest] = text
	return digest
}

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
		case words[1] == "manifests":
			r.serveManifest(w, q, words[2])
		default:
			r.serveBlob(w, q, words[2])
		}
	})
}

func (r *registry) serveManifest(w http.ResponseWriter, q *http.Request, reference string) {
	if tagged, ok := r.tags[reference]; ok {
		reference = tagged
	}
	text, ok := r.own[reference]
	var image manifest
	if !ok || json.Unmarshal(text, &image) != nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", image.MediaType)
	w.Header().Set("Docker-Content-Digest", reference)
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(text))
}

func (r *registry) serveBlob(w http.ResponseWriter, q *http.Request, digest string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if text, ok := r.own[digest]; ok {
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(text))
	} else if digests.MatchString(digest) {
		http.ServeFile(w, q, r.path(digest))
	} else {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code}}})
}
