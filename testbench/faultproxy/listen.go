package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// connection is one that was accepted. It is known until it is closed, so that all can be cut.
type connection struct {
	net.Conn
	proxy *proxy
	peer  func() int
}

func (c *connection) Close() error {
	c.proxy.mutex.Lock()
	delete(c.proxy.connections, c)
	c.proxy.mutex.Unlock()
	return c.Conn.Close()
}

// cut ends the connection as a crashed peer does: with a reset, not with an orderly end (tcp(7), SO_LINGER).
func (c *connection) cut() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// listener hands out connections that the proxy knows.
type listener struct {
	net.Listener
	proxy *proxy
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: accepted, proxy: l.proxy}
	c.peer = sync.OnceValue(func() int { return peerOf(accepted) })
	l.proxy.mutex.Lock()
	l.proxy.connections[c] = true
	l.proxy.mutex.Unlock()
	return c, nil
}

type connectionKey struct{}

func connectionOf(r *http.Request) *connection {
	return r.Context().Value(connectionKey{}).(*connection)
}

// listen starts to serve and returns the certificate authority as a kubeconfig has it.
func (p *proxy) listen(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	ca, pair, err := certificates(net.ParseIP(host))
	if err != nil {
		return "", err
	}
	p.server = &http.Server{
		Handler:   p,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if secured, ok := c.(*tls.Conn); ok {
				c = secured.NetConn()
			}
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
	p.address = address
	if err := p.accept(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(ca), nil
}

// accept takes connections (again).
func (p *proxy) accept() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.listening != nil {
		return nil
	}
	var made net.Listener
	var err error
	// The port was given up by refuse and may be somebody else's for a moment.
	for range 50 {
		if made, err = net.Listen("tcp", p.address); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	p.address = made.Addr().String()
	p.listening = made
	// Ends when refuse closes the listener.
	go p.server.ServeTLS(listener{made, p}, "", "")
	return nil
}

// refuse is what a server that is not there does: connections are cut, and others are refused.
func (p *proxy) refuse() {
	p.mutex.Lock()
	if p.listening != nil {
		_ = p.listening.Close()
		p.listening = nil
	}
	var open []*connection
	for c := range p.connections {
		open = append(open, c)
	}
	p.mutex.Unlock()
	for _, c := range open {
		c.cut()
	}
}

// certificates makes a certificate authority and a server's certificate for one address.
func certificates(address net.IP) ([]byte, tls.Certificate, error) {
	none := tls.Certificate{}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, none, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, none, err
	}
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "faultproxy-ca"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	ca, err := x509.CreateCertificate(rand.Reader, &template, &template, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, none, err
	}
	server := x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "faultproxy"},
		NotBefore:    template.NotBefore,
		NotAfter:     template.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{address},
	}
	signed, err := x509.CreateCertificate(rand.Reader, &server, &template, &key.PublicKey, caKey)
	if err != nil {
		return nil, none, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	return text, tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, nil
}
