package rig

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

func readCert(t *testing.T, p pki, name string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(p.path(name + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s.crt: no PEM inside", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newPKI(t *testing.T) pki {
	t.Helper()
	p, err := makePKI(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pool(t *testing.T, p pki, ca string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(readCert(t, p, ca))
	return pool
}

func TestServingCertificatesNameWhatClientsVerify(t *testing.T) {
	p := newPKI(t)
	roots := pool(t, p, "ca")
	hosts := []string{"localhost", "127.0.0.1", "::1", "10.96.0.1", "kubernetes.default.svc", "windlass-metrics.windlass-system.svc", "ext.rig.svc", "keda-metrics-apiserver.keda.svc"}
	for _, name := range []string{"apiserver", "adapter"} {
		for _, host := range hosts {
			cert := readCert(t, p, name)
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
				t.Errorf("%s.crt for %s: %v", name, host, err)
			}
		}
		if _, err := readCert(t, p, name).Verify(x509.VerifyOptions{Roots: roots, DNSName: "elsewhere.example"}); err == nil {
			t.Errorf("%s.crt must not name elsewhere.example", name)
		}
	}
	adapter := readCert(t, p, "adapter")
	if _, err := adapter.Verify(x509.VerifyOptions{Roots: roots, DNSName: "keda-operator", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("adapter.crt as a client: %v", err)
	}
}

func TestClientCertificatesCarryTheirUserAndGroup(t *testing.T) {
	p := newPKI(t)
	roots := pool(t, p, "ca")
	for _, user := range clientUsers {
		cert := readCert(t, p, user)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if cert.Subject.CommonName != clientSubjects[user].CommonName {
			t.Errorf("%s: user is %q, want %q", user, cert.Subject.CommonName, clientSubjects[user].CommonName)
		}
	}
	if groups := readCert(t, p, "admin").Subject.Organization; len(groups) != 1 || groups[0] != "system:masters" {
		t.Errorf("admin: groups are %v", groups)
	}
}

func TestTheFrontProxyHasAnAuthorityOfItsOwn(t *testing.T) {
	p := newPKI(t)
	front := readCert(t, p, "front")
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := front.Verify(x509.VerifyOptions{Roots: pool(t, p, "front-ca"), KeyUsages: client}); err != nil {
		t.Errorf("against its own CA: %v", err)
	}
	// Whoever trusts the cluster's CA must not take a front proxy for a user.
	if _, err := front.Verify(x509.VerifyOptions{Roots: pool(t, p, "ca"), KeyUsages: client}); err == nil {
		t.Error("the cluster's CA accepts the front proxy's certificate")
	}
	if front.Subject.CommonName != "front-proxy-client" {
		t.Errorf("user is %q", front.Subject.CommonName)
	}
}

func TestKeysBelongToTheirCertificates(t *testing.T) {
	p := newPKI(t)
	for _, name := range append([]string{"ca", "front-ca", "apiserver", "adapter", "front"}, clientUsers...) {
		if _, err := tls.LoadX509KeyPair(p.path(name+".crt"), p.path(name+".key")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		info, err := os.Stat(p.path(name + ".key"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s.key has mode %v", name, info.Mode())
		}
	}
}

func TestASecondCallKeepsTheCertificates(t *testing.T) {
	p := newPKI(t)
	before, err := os.ReadFile(p.path("adapter.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makePKI(p.dir); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(p.path("adapter.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("adapter.crt changed: clients of a running cluster would lose their trust")
	}
}
