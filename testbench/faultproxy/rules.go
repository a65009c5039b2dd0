package main

import (
	"fmt"
	"regexp"
	"slices"
)

// faults are the ways to fail.
var faults = []string{
	"pass", "hang", "hang-after", "reset", "reset-after", "status", "garbage", "endless", "slow", "late", "kill-before",
	"kill-after",
}

// rule says which request fails, and how.
type rule struct {
	// Number of the request since the last reset; 0 for any.
	Number int `json:"number"`
	// Method; empty for any.
	Method string `json:"method"`
	// Path is a regular expression on path and query; empty for any.
	Path string `json:"path"`
	// Fault is one of faults.
	Fault string `json:"fault"`
	// Always keeps the rule after its first use.
	Always bool `json:"always"`
	// Code, RetryAfter and Body belong to "status"; without a body it is a Status object.
	Code       int     `json:"code"`
	RetryAfter string  `json:"retry_after"`
	Body       *string `json:"body"`
	// Who is killed: "client" or "parent" (the client's), unless PID names a process.
	Who    string `json:"who"`
	PID    int    `json:"pid"`
	Signal int    `json:"signal"`
	// Seconds that "late" waits before it forwards, whether or not somebody still waits for the answer.
	Seconds float64 `json:"seconds"`

	path *regexp.Regexp
	used bool
}

func (r *rule) matches(number int, method, path string) bool {
	return (r.Always || !r.used) && (r.Number == 0 || r.Number == number) && (r.Method == "" || r.Method == method) &&
		r.path.MatchString(path)
}

func (p *proxy) addRule(r rule) error {
	if !slices.Contains(faults, r.Fault) {
		return fmt.Errorf("no such fault: %q", r.Fault)
	}
	if r.Fault == "status" && (r.Code < 200 || r.Code > 599) {
		return fmt.Errorf("no such status: %d", r.Code)
	}
	if r.PID == 0 && r.Who != "" && r.Who != "client" && r.Who != "parent" {
		return fmt.Errorf("nobody is called %q", r.Who)
	}
	path, err := regexp.Compile(r.Path)
	if err != nil {
		return err
	}
	r.path = path
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rules = append(p.rules, &r)
	return nil
}

// choose takes the first rule that matches. The mutex is held.
func (p *proxy) choose(number int, method, path string) rule {
	for _, r := range p.rules {
		if r.matches(number, method, path) {
			r.used = true
			return *r
		}
	}
	return rule{Fault: "pass"}
}
