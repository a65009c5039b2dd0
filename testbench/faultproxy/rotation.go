package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// rotation makes each token of a job end when the test wants it to: an administrator asks for the token instead of the
// provisioner, bound to a Secret of its own, and deleting that Secret ends the token. (The fence refuses the provisioner
// bound tokens, rightly.) The life that the answer tells is made short, so that a renewal comes soon; the API server
// itself grants no less than ten minutes.
type rotation struct {
	admin *cluster
	life  int64
	made  []token
}

// token is one that was granted to a job.
type token struct {
	Namespace string `json:"namespace"`
	Account   string `json:"account"`
	Secret    string `json:"secret"`
}

var tokenRequest = regexp.MustCompile(`^/api/v1/namespaces/([^/]+)/serviceaccounts/(ssa-job-[^/]+)/token$`)

func (p *proxy) tokens() []token {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.rotation == nil {
		return nil
	}
	return slices.Clone(p.rotation.made)
}

// ask makes a request as the administrator.
func (r *rotation) ask(method, path string, object any) (*http.Response, []byte, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequest(method, r.admin.url.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if r.admin.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.admin.token)
	}
	response, err := r.admin.transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

// grant answers a TokenRequest for a job's account.
func (p *proxy) grant(namespace, account, path string, body []byte) (*http.Response, []byte, error) {
	r := p.rotation
	var wanted map[string]any
	if err := json.Unmarshal(body, &wanted); err != nil {
		return nil, nil, err
	}
	response, text, err := r.ask(http.MethodPost, "/api/v1/namespaces/"+namespace+"/secrets", map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"generateName": "rotation-", "labels": map[string]string{"spark-submit-as-test": "rotation"}},
	})
	if err != nil {
		return nil, nil, err
	}
	var secret struct {
		Metadata struct{ Name, UID string }
	}
	if err := json.Unmarshal(text, &secret); err != nil || secret.Metadata.UID == "" {
		return nil, nil, fmt.Errorf("no Secret: the API server answered %s", response.Status)
	}
	spec, ok := wanted["spec"].(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("a TokenRequest without a spec")
	}
	spec["boundObjectRef"] = map[string]string{
		"apiVersion": "v1", "kind": "Secret", "name": secret.Metadata.Name, "uid": secret.Metadata.UID,
	}
	response, text, err = r.ask(http.MethodPost, path, wanted)
	if err != nil {
		return nil, nil, err
	}
	// Told even when no token was granted: the Secret is there, and who started this has to remove it.
	p.mutex.Lock()
	r.made = append(r.made, token{Namespace: namespace, Account: account, Secret: secret.Metadata.Name})
	p.mutex.Unlock()
	var granted map[string]any
	if json.Unmarshal(text, &granted) != nil {
		return response, text, nil
	}
	status, ok := granted["status"].(map[string]any)
	now, err := http.ParseTime(response.Header.Get("Date"))
	if !ok || err != nil || status["token"] == nil || r.life == 0 {
		return response, text, nil
	}
	status["expirationTimestamp"] = now.Add(time.Duration(r.life) * time.Second).UTC().Format(time.RFC3339)
	text, err = json.Marshal(granted)
	return response, text, err
}
