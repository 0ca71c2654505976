// Package rig starts and supervises the components of a test control plane. It
// knows Kubernetes only by flags and HTTP; it never imports it, so that its own
// tests need neither a control plane nor minutes of linking.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Main is "rig up": it returns the exit code, 0 after a signal.
func Main(args []string) int {
	o, err := parseOptions(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.endOnStdinClose {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	err = up(ctx, o)
	if ctx.Err() != nil {
		return 0 // asked to end, wherever the start had come to
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		return 1
	}
	return 0
}

// up starts everything, prints the state in one line and waits for the end of
// ctx; whatever it started is stopped when it returns.
func up(ctx context.Context, o *options) error {
	began := time.Now()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.kwok = pick(o.kwok, self, "kwok")
	o.metricsServer = pick(o.metricsServer, self, "metrics-server")
	if o.portBase == 0 {
		if o.portBase, err = freeBase(); err != nil {
			return err
		}
	}
	c, err := prepare(o, self)
	if err != nil {
		return err
	}
	s := &supervisor{ctx: ctx, restart: o.restart, readyTimeout: o.readyTimeout, st: c.st}
	defer s.stopAll()
	if err := c.startAll(s); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := s.writeState(); err != nil {
		return err
	}
	// One line: a harness reads it as "ready".
	s.mu.Lock()
	line, err := json.Marshal(c.st)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	fmt.Fprintf(os.Stderr, "rig: ready after %.1fs; export KUBECONFIG=%s; kill %d ends it\n", time.Since(began).Seconds(), c.st.Kubeconfig, os.Getpid())
	<-ctx.Done()
	return nil
}

// cluster is what the components are started from.
type cluster struct {
	o    *options
	self string
	p    pki
	st   *State
}

// prepare writes the files that the components read: keys and certificates,
// kubeconfigs, tokens, audit policy and kwok's stages.
func prepare(o *options, self string) (*cluster, error) {
	p, err := makePKI(filepath.Join(o.dir, "pki"))
	if err != nil {
		return nil, err
	}
	c := &cluster{o: o, self: self, p: p}
	api := fmt.Sprintf("https://127.0.0.1:%d", o.portBase)
	for _, user := range clientUsers {
		if err := writeKubeconfig(c.kubeconfig(user), api, p.path("ca.crt"), p.path(user+".crt"), p.path(user+".key")); err != nil {
			return nil, err
		}
	}
	c.st = &State{
		Dir: o.dir, PID: os.Getpid(), PortBase: o.portBase,
		APIServer: api, EtcdURL: o.etcdURL,
		PKI: p.dir, CA: p.path("ca.crt"),
		Kubeconfig: c.kubeconfig("admin"),
		Tokens:     c.file("tokens.csv"), AuditLog: c.file("audit.log"),
		Nodes:   nodeNames(o.nodes),
		HPASync: o.hpaSync.String(), HPAStabilization: o.hpaStabilization.String(),
	}
	if o.etcdURL == "" {
		c.st.EtcdURL = fmt.Sprintf("http://127.0.0.1:%d", o.portBase+etcdPort)
	}
	if err := writeTokens(c.st.Tokens); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.file("audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.file("kwok.yaml"), []byte(kwokConfig), 0o600); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cluster) file(name string) string { return filepath.Join(c.o.dir, name) }

func (c *cluster) kubeconfig(user string) string { return c.file(user + ".kubeconfig") }
