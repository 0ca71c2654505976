package rig

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Component is one process of the control plane.
type Component struct {
	Name string `json:"name"`
	// PID changes when the component died and was started again.
	PID int `json:"pid"`
	// Port on 127.0.0.1; it stays the same over restarts.
	Port    int      `json:"port"`
	Log     string   `json:"log"`
	Argv    []string `json:"argv"`
	Healthz string   `json:"healthz,omitempty"`
	// Restarts counts how often it was started again.
	Restarts int `json:"restarts"`
}

// State is what "rig up" prints in one line when all is ready, and keeps
// current in DIR/state.json.
type State struct {
	Dir        string   `json:"dir"`
	PID        int      `json:"pid"`
	PortBase   int      `json:"portBase"`
	APIServer  string   `json:"apiserver"`
	EtcdURL    string   `json:"etcd"`
	PKI        string   `json:"pki"`
	CA         string   `json:"ca"`
	Kubeconfig string   `json:"kubeconfig"`
	Tokens     string   `json:"tokens"`
	AuditLog   string   `json:"auditLog"`
	Nodes      []string `json:"nodes"`
	// The two HPA settings in force, so that a published figure can name them.
	HPASync          string       `json:"hpaSync"`
	HPAStabilization string       `json:"hpaStabilization"`
	Components       []*Component `json:"components"`
}

// write replaces DIR/state.json in one step: a reader sees the old one or the
// new one, never half of it.
func (s *State) write() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.Dir, ".state.json")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.Dir, "state.json"))
}
