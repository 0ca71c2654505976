//go:build smoke

// Package smoke starts a whole control plane and checks that it is one. When a
// test of the product fails, this says whether the rig is to blame.
//
//	WINDLASS_RIG_BIN=$(../build.sh | tail -1) go test -tags smoke ./smoke
package smoke

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

//go:embed objects.yaml
var objects string

// state is what the test reads of the rig's ready line.
type state struct {
	Dir, APIServer, PKI, AuditLog string
	Nodes                         []string
	Components                    []struct {
		Name string
		PID  int
	}
}

type cluster struct {
	t   *testing.T
	cmd *exec.Cmd
	st  state
	hc  *http.Client
}

// start starts a cluster on free ports and stops it with the test.
func start(t *testing.T) *cluster {
	t.Helper()
	bin := os.Getenv("WINDLASS_RIG_BIN")
	if bin == "" {
		t.Fatal("WINDLASS_RIG_BIN is not set: give the folder that tests/cluster/build.sh prints")
	}
	cmd := exec.Command(filepath.Join(bin, "rig"), "up", "--dir", t.TempDir(), "--port-base", "0", "--end-on-stdin-close")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	c := &cluster{t: t, cmd: cmd}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	if err := json.Unmarshal(line, &c.st); err != nil {
		t.Fatalf("ready line %q: %v", line, err)
	}
	crt, err := tls.LoadX509KeyPair(filepath.Join(c.st.PKI, "admin.crt"), filepath.Join(c.st.PKI, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.hc = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: c.authority("ca.crt"), Certificates: []tls.Certificate{crt}},
	}}
	return c
}

func (c *cluster) authority(name string) *x509.CertPool {
	c.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.file(name)) {
		c.t.Fatalf("%s: no certificate inside", name)
	}
	return pool
}

func (c *cluster) file(name string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.st.PKI, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *cluster) get(path string) (map[string]any, error) {
	resp, err := c.hc.Get(c.st.APIServer + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.300s", path, resp.Status, b)
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}

// apply writes an object by server-side apply.
func (c *cluster) apply(doc string) {
	c.t.Helper()
	var o struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
		c.t.Fatal(err)
	}
	path := "/apis/" + o.APIVersion
	if o.APIVersion == "v1" {
		path = "/api/v1"
	}
	if o.Metadata.Namespace != "" {
		path += "/namespaces/" + o.Metadata.Namespace
	}
	path += "/" + strings.ToLower(o.Kind) + "s/" + o.Metadata.Name + "?fieldManager=smoke&force=true"
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPatch, c.st.APIServer+path, bytes.NewReader([]byte(doc)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := c.hc.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		c.t.Fatalf("%s: %s: %.400s", path, resp.Status, b)
	}
}

// await waits at most 60 s until a field of an object has a value.
func (c *cluster) await(path, want string, fields ...string) {
	c.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		m, err := c.get(path)
		got := "nothing"
		if err == nil {
			var v any = m
			for _, f := range fields {
				m, _ := v.(map[string]any)
				v = m[f]
			}
			if got = fmt.Sprint(v); got == want {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %s is %s, want %s (%v)", path, strings.Join(fields, "."), got, want, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// adapter is a stub of external.metrics.k8s.io which answers one value and
// takes callers with the aggregator's client certificate only.
func (c *cluster) adapter(value *atomic.Int64, hpaCalls *atomic.Int64) int {
	c.t.Helper()
	const base = "/apis/external.metrics.k8s.io/v1beta1"
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(base, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1",
			"resources": []any{map[string]any{"name": "externalmetrics", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": []string{"get"}}}})
	})
	mux.HandleFunc(base+"/namespaces/default/s0-q", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Remote-User") == "system:serviceaccount:kube-system:horizontal-pod-autoscaler" {
			hpaCalls.Add(1)
		}
		answer(w, map[string]any{"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": map[string]any{},
			"items": []any{map[string]any{"metricName": "s0-q", "metricLabels": map[string]any{}, "timestamp": time.Now().UTC().Format(time.RFC3339), "value": strconv.FormatInt(value.Load(), 10)}}})
	})
	crt, err := tls.LoadX509KeyPair(filepath.Join(c.st.PKI, "adapter.crt"), filepath.Join(c.st.PKI, "adapter.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{crt}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.authority("front-ca.crt"),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	c.t.Cleanup(func() { server.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestTheRigIsAControlPlane(t *testing.T) {
	c := start(t)
	var value, hpaCalls atomic.Int64
	value.Store(30)
	port := c.adapter(&value, &hpaCalls)
	fill := strings.NewReplacer("ADAPTER_PORT", strconv.Itoa(port), "CA_BASE64", base64.StdEncoding.EncodeToString(c.file("ca.crt")))
	_, docs, _ := strings.Cut(fill.Replace(objects), "\n") // the comment
	for doc := range strings.SplitSeq(docs, "\n---\n") {
		c.apply(doc)
	}

	c.await("/apis/batch/v1/namespaces/default/jobs/ok", "1", "status", "succeeded")
	c.await("/apis/batch/v1/namespaces/default/jobs/bad", "1", "status", "failed")
	// target 5 per pod: 30 asks for 6, 90 for 18
	c.await("/apis/apps/v1/namespaces/default/deployments/web", "6", "status", "readyReplicas")
	value.Store(90)
	c.await("/apis/apps/v1/namespaces/default/deployments/web", "18", "status", "readyReplicas")
	if hpaCalls.Load() == 0 {
		t.Error("the adapter was never asked by the HPA controller's ServiceAccount")
	}

	audit, err := os.ReadFile(c.st.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	scaled := false
	for line := range bytes.Lines(audit) {
		var e struct {
			User          struct{ Username string }
			ObjectRef     struct{ Name, Subresource string }
			RequestObject struct{ Spec struct{ Replicas int } }
		}
		if json.Unmarshal(line, &e) == nil && e.ObjectRef.Subresource == "scale" && e.RequestObject.Spec.Replicas == 18 {
			scaled = e.User.Username == "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
		}
	}
	if !scaled {
		t.Error("the audit log does not show that the HPA wrote 18 to /scale")
	}
}

func TestTheEndOfStandardInputEndsAll(t *testing.T) {
	bin := os.Getenv("WINDLASS_RIG_BIN")
	cmd := exec.Command(filepath.Join(bin, "rig"), "up", "--dir", t.TempDir(), "--port-base", "0", "--end-on-stdin-close",
		"--kwok", "-", "--metrics-server", "-", "--scheduler=false", "--nodes", "0")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	var st state
	if err := json.Unmarshal(line, &st); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
	for _, component := range st.Components {
		if syscall.Kill(component.PID, 0) == nil {
			t.Errorf("%s (pid %d) is still there", component.Name, component.PID)
		}
	}
}
