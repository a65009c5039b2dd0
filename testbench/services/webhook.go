package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
)

// review is what is used of an admission.k8s.io/v1 AdmissionReview.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID    string `json:"uid"`
	Object struct {
		Spec struct {
			Volumes    []json.RawMessage `json:"volumes"`
			Containers []struct {
				VolumeMounts []json.RawMessage `json:"volumeMounts"`
			} `json:"containers"`
		} `json:"spec"`
	} `json:"object"`
}

type response struct {
	UID       string `json:"uid"`
	Allowed   bool   `json:"allowed"`
	PatchType string `json:"patchType"`
	Patch     []byte `json:"patch"`
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// webhook mounts a token into every container of a pod, as the webhooks of clouds do. The token's audience is the last
// part of the URL in hexadecimal digits, so that the webhook's registration says it: https://ADDRESS/inject/DIGITS.
func webhook() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("POST /inject/{audience}", func(w http.ResponseWriter, q *http.Request) {
		audience, err := hex.DecodeString(q.PathValue("audience"))
		if err != nil {
			http.NotFound(w, q)
			return
		}
		var asked review
		err = json.NewDecoder(http.MaxBytesReader(w, q.Body, 8<<20)).Decode(&asked)
		if err != nil || asked.Request == nil {
			http.Error(w, "no AdmissionReview", http.StatusBadRequest)
			return
		}
		patch, err := json.Marshal(inject(asked.Request, string(audience)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		asked.Response = &response{UID: asked.Request.UID, Allowed: true, PatchType: "JSONPatch", Patch: patch}
		asked.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(asked)
	})
	return routes
}

func inject(pod *request, audience string) []operation {
	var patch []operation
	add := func(path string, present int, value any) {
		if present == 0 {
			patch = append(patch, operation{"add", path, []any{value}})
		} else {
			patch = append(patch, operation{"add", path + "/-", value})
		}
	}
	spec := pod.Object.Spec
	token := map[string]any{"audience": audience, "expirationSeconds": 3600, "path": "token"}
	add("/spec/volumes", len(spec.Volumes), map[string]any{
		"name":      "cloud-token",
		"projected": map[string]any{"sources": []any{map[string]any{"serviceAccountToken": token}}},
	})
	for number, container := range spec.Containers {
		add(fmt.Sprintf("/spec/containers/%d/volumeMounts", number), len(container.VolumeMounts), map[string]any{
			"name": "cloud-token", "mountPath": "/var/run/secrets/cloud", "readOnly": true,
		})
	}
	return patch
}
