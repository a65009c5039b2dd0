package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// request is a line of the log.
type request struct {
	Number int    `json:"number"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Agent  string `json:"agent"`
	// Client is the process that asked.
	Client int `json:"client"`
	// Status that the API server answered, 0 when it was not asked or has not answered yet.
	Status int    `json:"status"`
	Fault  string `json:"fault"`
}

type proxy struct {
	upstream *cluster
	reverse  *httputil.ReverseProxy
	server   *http.Server
	rotation *rotation
	address  string

	mutex       sync.Mutex
	listening   net.Listener
	connections map[*connection]bool
	rules       []*rule
	log         []*request
	// Closed by a reset: what hangs is let go then.
	over chan struct{}
}

type requestKey struct{}

func newProxy(upstream *cluster) *proxy {
	p := &proxy{upstream: upstream, connections: map[*connection]bool{}, over: make(chan struct{})}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream.url)
			r.Out.Host = ""
		},
		Transport: upstream.transport,
		// A watch's events are passed on as they come.
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if entry, ok := r.Request.Context().Value(requestKey{}).(*request); ok {
				p.answered(entry, r.StatusCode)
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, _ error) { connectionOf(r).cut() },
	}
	return p
}

func (p *proxy) reset() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rules, p.log = nil, nil
	close(p.over)
	p.over = make(chan struct{})
}

func (p *proxy) requestsFrom(number int) []request {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var found []request
	for _, entry := range p.log[min(max(number-1, 0), len(p.log)):] {
		found = append(found, *entry)
	}
	return found
}

func (p *proxy) answered(entry *request, status int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	entry.Status = status
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Read whole, so that the end of the client's connection is noticed from here on (net/http reads ahead then).
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	entry := &request{
		Method: r.Method, Path: r.RequestURI, Agent: r.UserAgent(), Client: connectionOf(r).peer(),
	}
	p.mutex.Lock()
	entry.Number = len(p.log) + 1
	p.log = append(p.log, entry)
	rule := p.choose(entry.Number, r.Method, r.RequestURI)
	entry.Fault = rule.Fault
	over := p.over
	p.mutex.Unlock()

	switch rule.Fault {
	case "pass":
		p.pass(w, r, entry, body)
	case "hang":
		hang(r, over)
	case "hang-after":
		_, _, _ = p.forward(r, entry, body)
		hang(r, over)
	case "reset":
		cut(r)
	case "reset-after":
		_, _, _ = p.forward(r, entry, body)
		cut(r)
	case "status":
		refusal(w, rule)
	case "garbage":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "<html>\x00\xff not what was asked for")
	case "endless":
		endless(w, r, over)
	case "slow":
		p.slow(w, r, entry, body, over)
	case "late":
		time.Sleep(time.Duration(rule.Seconds * float64(time.Second)))
		p.forwardAndAnswer(w, r, entry, body, func() {})
	case "kill-before":
		victim(r, rule)()
		p.forwardAndAnswer(w, r, entry, body, func() {})
	case "kill-after":
		p.forwardAndAnswer(w, r, entry, body, victim(r, rule))
	}
}

// pass forwards a request as if nobody stood between; watches and WebSockets too.
func (p *proxy) pass(w http.ResponseWriter, r *http.Request, entry *request, body []byte) {
	if p.rotation != nil && r.Method == http.MethodPost && tokenRequest.MatchString(r.URL.Path) {
		p.forwardAndAnswer(w, r, entry, body, func() {})
		return
	}
	p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, entry)))
}

// forward has the API server serve a request and reads the answer, whether or not the client still waits for it.
func (p *proxy) forward(r *http.Request, entry *request, body []byte) (*http.Response, []byte, error) {
	var response *http.Response
	var text []byte
	var err error
	if match := tokenRequest.FindStringSubmatch(r.URL.Path); p.rotation != nil && match != nil {
		response, text, err = p.grant(match[1], match[2], r.URL.Path, body)
	} else {
		out := r.Clone(context.WithoutCancel(r.Context()))
		out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = p.upstream.url.Scheme, p.upstream.url.Host, "", ""
		out.Header.Del("Connection")
		out.Body = io.NopCloser(bytes.NewReader(body))
		response, err = p.upstream.transport.RoundTrip(out)
		if err == nil {
			defer response.Body.Close()
			text, err = io.ReadAll(response.Body)
		}
	}
	if err == nil {
		p.answered(entry, response.StatusCode)
	}
	return response, text, err
}

func (p *proxy) forwardAndAnswer(w http.ResponseWriter, r *http.Request, entry *request, body []byte, between func()) {
	response, text, err := p.forward(r, entry, body)
	between()
	if err != nil {
		cut(r)
	}
	head(w, response, len(text))
	_, _ = w.Write(text)
}

func head(w http.ResponseWriter, response *http.Response, length int) {
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(response.StatusCode)
}

// slow answers a byte a second.
func (p *proxy) slow(w http.ResponseWriter, r *http.Request, entry *request, body []byte, over <-chan struct{}) {
	response, text, err := p.forward(r, entry, body)
	if err != nil {
		cut(r)
	}
	head(w, response, len(text))
	for _, b := range text {
		if _, err := w.Write([]byte{b}); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-over:
			cut(r)
		case <-time.After(time.Second):
		}
	}
}

// endless answers for ever, at a rate that leaves the machine to others.
func endless(w http.ResponseWriter, r *http.Request, over <-chan struct{}) {
	w.Header().Set("Content-Type", "application/json")
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-over:
			cut(r)
		case <-time.After(time.Millisecond):
		}
	}
}

func refusal(w http.ResponseWriter, rule rule) {
	w.Header().Set("Content-Type", "application/json")
	// The clock that the provisioner goes by is in every answer of the real server, and so in these (net/http adds it).
	if rule.RetryAfter != "" {
		w.Header().Set("Retry-After", rule.RetryAfter)
	}
	w.WriteHeader(rule.Code)
	if rule.Body != nil {
		_, _ = io.WriteString(w, *rule.Body)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": rule.Code,
		"message": fmt.Sprintf("the fault proxy answers %d", rule.Code), "reason": http.StatusText(rule.Code),
	})
}

// hang never answers; the connection is cut when the test goes on.
func hang(r *http.Request, over <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-over:
		cut(r)
	}
}

// cut ends the request's connection and the handler.
func cut(r *http.Request) {
	connectionOf(r).cut()
	panic(http.ErrAbortHandler)
}

// victim finds the process to be signalled now, as long as it is certainly there, and returns what signals it and waits
// until a killed one is gone: what comes after is then after its death.
func victim(r *http.Request, rule rule) func() {
	pid := rule.PID
	if pid == 0 {
		pid = connectionOf(r).peer()
		if rule.Who == "parent" {
			pid = parentOf(pid)
		}
	}
	signal := syscall.Signal(rule.Signal)
	if signal == 0 {
		signal = syscall.SIGKILL
	}
	return func() {
		// 0 and 1 would be the own process group and init.
		if pid <= 1 {
			return
		}
		_ = syscall.Kill(pid, signal)
		for i := 0; signal == syscall.SIGKILL && i < 1000 && alive(pid); i++ {
			time.Sleep(time.Millisecond)
		}
	}
}

// alive is false for a zombie: it does nothing any more, and only its parent decides when it goes.
func alive(pid int) bool {
	return slices.Contains([]string{"R", "S", "D", "T"}, stateOf(pid))
}
