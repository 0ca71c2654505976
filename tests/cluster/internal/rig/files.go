package rig

import (
	"crypto/rand"
	_ "embed" // the two files below
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// kwokConfig makes kwok play the kubelet of every node: nodes turn Ready, pods
// turn Running and Ready, pods of Jobs succeed, deleted pods go. Annotations on
// a pod steer it:
//
//	rig/run-ms          how long a Job's pod runs, in milliseconds (default 1000)
//	rig/ready-ms        how long a pod takes to turn Ready, in milliseconds (default 200)
//	rig/result: fail    a Job's pod fails with exit code 1
//	rig/usage-cpu, rig/usage-memory   what metrics-server is told (Quantity)
//
//go:embed kwok.yaml
var kwokConfig string

// auditPolicy is the audit policy of the API server.
//
//go:embed audit.yaml
var auditPolicy string

// writeKubeconfig writes a kubeconfig for a client certificate. It is JSON,
// which is YAML too.
func writeKubeconfig(file, server, ca, crt, key string) error {
	m := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "rig",
		"clusters": []any{map[string]any{"name": "rig", "cluster": map[string]any{"server": server, "certificate-authority": ca}}},
		"users":    []any{map[string]any{"name": "rig", "user": map[string]any{"client-certificate": crt, "client-key": key}}},
		"contexts": []any{map[string]any{"name": "rig", "context": map[string]any{"cluster": "rig", "user": "rig", "namespace": "default"}}},
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// tokenUsers may log in by a static token; each is in the group of its name
// with an s. They have no rights until a test grants some.
var tokenUsers = []string{"tenant-a", "tenant-b", "viewer"}

// writeTokens writes kube-apiserver's token file, one line a user: token, user,
// uid, "groups". The tokens are new for every state directory and stay while it
// does.
func writeTokens(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	var out strings.Builder
	for _, u := range tokenUsers {
		b := make([]byte, 24)
		if _, err := rand.Read(b); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%x,%s,uid-%s,\"%ss\"\n", b, u, u, u)
	}
	return os.WriteFile(file, []byte(out.String()), 0o600)
}
