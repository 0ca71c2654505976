package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// nodeNames gives n1..nN, an empty list for none.
func nodeNames(count int) []string {
	names := make([]string, 0, count)
	for i := range count {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// node is a Node object: kwok makes it Ready, metrics-server finds its figures
// by the annotation.
func node(name string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{
			"name":   name,
			"labels": map[string]any{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
			"annotations": map[string]any{
				"metrics.k8s.io/resource-metrics-path": "/metrics/nodes/" + name + "/metrics/resource",
			},
		},
	}
}

// settle brings the cluster to where a test can create pods at once: the
// nodes are there and Ready, and the default ServiceAccount exists.
func (c *cluster) settle(ctx context.Context) error {
	admin, err := c.p.client("admin")
	if err != nil {
		return err
	}
	for _, name := range c.st.Nodes {
		if err := create(ctx, admin, c.st.APIServer+"/api/v1/nodes", node(name)); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	if err := c.await(ctx, "default ServiceAccount", func() error {
		return get(ctx, admin, c.st.APIServer+"/api/v1/namespaces/default/serviceaccounts/default")
	}); err != nil {
		return err
	}
	if c.o.kwok == "" {
		return nil // nobody would make a node Ready
	}
	for _, name := range c.st.Nodes {
		if err := c.await(ctx, "node "+name, func() error { return nodeReady(ctx, admin, c.st.APIServer+"/api/v1/nodes/"+name) }); err != nil {
			return err
		}
	}
	return nil
}

// await asks again and again until check has no error, or the ready timeout is over.
func (c *cluster) await(ctx context.Context, what string, check func() error) error {
	deadline := time.Now().Add(c.o.readyTimeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not there after %s: %w", what, c.o.readyTimeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// create posts an object; one that is there already is left as it is.
func create(ctx context.Context, hc *http.Client, url string, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusConflict {
		return nil
	}
	return fmt.Errorf("%s: %.300s", resp.Status, answer)
}

// nodeReady fails unless the node's Ready condition is True.
func nodeReady(ctx context.Context, hc *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var n struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&n); err != nil {
		return err
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		}
	}
	return errors.New("not Ready")
}
