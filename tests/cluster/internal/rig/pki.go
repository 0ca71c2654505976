package rig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// pki is one throw-away certificate authority for a test cluster, and a second
// one ("front") for the aggregator's request-header client certificate.
type pki struct{ dir string }

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

// clientUsers are those who get a client certificate and a kubeconfig.
var clientUsers = []string{"admin", "kcm", "scheduler", "kwok", "metrics-server"}

var clientSubjects = map[string]pkix.Name{
	"admin":          {CommonName: "rig-admin", Organization: []string{"system:masters"}},
	"kcm":            {CommonName: "system:kube-controller-manager"},
	"scheduler":      {CommonName: "system:kube-scheduler"},
	"kwok":           {CommonName: "rig-kwok", Organization: []string{"system:masters"}},
	"metrics-server": {CommonName: "rig-metrics-server", Organization: []string{"system:masters"}},
}

// makePKI makes all keys and certificates of a cluster in dir, once.
func makePKI(dir string) (pki, error) {
	p := pki{dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	if _, err := os.Stat(p.path("done")); err == nil {
		return p, nil // a restarted cluster keeps its certificates
	}
	ca, caKey, err := p.ca("ca", "rig-ca")
	if err != nil {
		return p, err
	}
	front, frontKey, err := p.ca("front-ca", "rig-front-proxy-ca")
	if err != nil {
		return p, err
	}
	serving := pkix.Name{CommonName: "rig-serving"}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		// the aggregator and webhooks verify SERVICE.NAMESPACE.svc
		"*.windlass-system.svc", "*.rig.svc", "*.kube-system.svc", "*.keda.svc"}
	if err := p.leaf("apiserver", serving, ca, caKey, names, x509.ExtKeyUsageServerAuth); err != nil {
		return p, err
	}
	// For an adapter under test: it serves an APIService and may also be an
	// mTLS client (KEDA uses one pair, as tls.crt and tls.key, for both).
	if err := p.leaf("adapter", pkix.Name{CommonName: "rig-adapter"}, ca, caKey, append(slices.Clone(names), "keda-operator"), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth); err != nil {
		return p, err
	}
	for _, user := range clientUsers {
		if err := p.leaf(user, clientSubjects[user], ca, caKey, nil, x509.ExtKeyUsageClientAuth); err != nil {
			return p, err
		}
	}
	if err := p.leaf("front", pkix.Name{CommonName: "front-proxy-client"}, front, frontKey, nil, x509.ExtKeyUsageClientAuth); err != nil {
		return p, err
	}
	sa, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	if err := p.key("sa.key", sa); err != nil {
		return p, err
	}
	pub, err := x509.MarshalPKIXPublicKey(&sa.PublicKey)
	if err != nil {
		return p, err
	}
	if err := p.pem("sa.pub", "PUBLIC KEY", pub); err != nil {
		return p, err
	}
	return p, os.WriteFile(p.path("done"), nil, 0o600)
}

func (p pki) ca(name, cn string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(pkix.Name{CommonName: cn})
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := p.pem(name+".crt", "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	return cert, key, p.key(name+".key", key)
}

func (p pki) leaf(name string, subject pkix.Name, ca *x509.Certificate, caKey crypto.Signer, dns []string, usages ...x509.ExtKeyUsage) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(subject)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = usages
	if len(dns) > 0 {
		t.DNSNames = dns
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 96, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	if err := p.pem(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return p.key(name+".key", key)
}

func template(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
}

func (p pki) key(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return p.pem(name, "PRIVATE KEY", der)
}

func (p pki) pem(name, kind string, der []byte) error {
	return os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// client is an HTTP client that is the given user and trusts the cluster's CA.
func (p pki) client(user string) (*http.Client, error) {
	crt, err := tls.LoadX509KeyPair(p.path(user+".crt"), p.path(user+".key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{crt}},
	}}, nil
}
