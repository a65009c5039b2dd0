package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
)

// cluster is an API server and how to speak to it.
type cluster struct {
	url       *url.URL
	token     string
	transport *http.Transport
}

// kubeconfig is what is read of one: JSON, one cluster, one user, everything inline, as
// `kubectl config view --raw --flatten --minify -o json` prints it.
type kubeconfig struct {
	Clusters []struct {
		Cluster struct {
			Server                   string `json:"server"`
			CertificateAuthorityData []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		User struct {
			ClientCertificateData []byte `json:"client-certificate-data"`
			ClientKeyData         []byte `json:"client-key-data"`
			Token                 string `json:"token"`
		} `json:"user"`
	} `json:"users"`
}

// readCluster reads a kubeconfig. Its certificate, if it has one, is used for every request of this transport; its token
// is not: clients bring their own.
func readCluster(path string) (*cluster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config kubeconfig
	if err := json.Unmarshal(text, &config); err != nil {
		// The text holds a credential, and so may a message about it.
		return nil, fmt.Errorf("%s is not a kubeconfig in JSON", path)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return nil, fmt.Errorf("%s must have one cluster and one user", path)
	}
	server, err := url.Parse(config.Clusters[0].Cluster.Server)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.Clusters[0].Cluster.CertificateAuthorityData) {
		return nil, errors.New("the cluster's certificate authority cannot be read")
	}
	security := &tls.Config{RootCAs: roots}
	user := config.Users[0].User
	if len(user.ClientCertificateData) > 0 {
		pair, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
		if err != nil {
			return nil, err
		}
		security.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: security, ForceAttemptHTTP2: true, DisableCompression: true}
	return &cluster{url: server, token: user.Token, transport: transport}, nil
}
