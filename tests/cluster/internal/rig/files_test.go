package rig

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// documents splits a YAML stream and parses each document.
func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for i, doc := range strings.Split(text, "\n---\n") {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		all = append(all, m)
	}
	return all
}

func TestKwokStagesParseAndAreAllThere(t *testing.T) {
	var names []string
	for _, d := range documents(t, kwokConfig) {
		if d["apiVersion"] != "kwok.x-k8s.io/v1alpha1" {
			t.Errorf("apiVersion is %v", d["apiVersion"])
		}
		names = append(names, d["kind"].(string)+"/"+d["metadata"].(map[string]any)["name"].(string))
	}
	want := []string{"Stage/node-initialize", "Stage/node-heartbeat", "Stage/pod-ready", "Stage/pod-complete", "Stage/pod-delete", "ClusterResourceUsage/usage-from-annotation", "Metric/metrics-resource"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v\nwant %v", names, want)
	}
	for _, annotation := range []string{"rig/ready-ms", "rig/run-ms", "rig/result", "rig/usage-cpu", "rig/usage-memory"} {
		if !strings.Contains(kwokConfig, annotation) {
			t.Errorf("annotation %s is documented, but not used", annotation)
		}
	}
}

func TestTheAuditPolicyKeepsScaleBodiesAndNoSecrets(t *testing.T) {
	var policy struct {
		Kind  string
		Rules []struct {
			Level     string
			Verbs     []string
			Resources []struct {
				Group     string
				Resources []string
			}
		}
	}
	if err := yaml.UnmarshalStrict([]byte(auditPolicy), &policy, yaml.DisallowUnknownFields); err != nil && !strings.Contains(err.Error(), "unknown field") {
		t.Fatal(err)
	}
	first, last := policy.Rules[0], policy.Rules[len(policy.Rules)-1]
	if first.Level != "RequestResponse" || !slices.Contains(first.Resources[0].Resources, "*/scale") {
		t.Errorf("the first rule must keep what was written to scale: %+v", first)
	}
	if last.Level != "Metadata" || last.Resources != nil {
		t.Errorf("the last rule must be Metadata for all: %+v", last)
	}
	for _, rule := range policy.Rules[:len(policy.Rules)-1] {
		for _, r := range rule.Resources {
			if r.Group == "" && !slices.Equal(r.Resources, []string{"replicationcontrollers/scale"}) {
				t.Errorf("bodies of the core group would be kept, Secrets among them: %+v", rule)
			}
		}
	}
}

func TestTheKubeconfigIsValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kc")
	if err := writeKubeconfig(file, "https://127.0.0.1:1", "/ca", "/crt", "/key"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type named struct {
		Name    string
		Cluster map[string]string
		User    map[string]string
		Context map[string]string
	}
	var kc struct {
		APIVersion, Kind string
		CurrentContext   string `json:"current-context"`
		Clusters         []named
		Users            []named
		Contexts         []named
	}
	if err := json.Unmarshal(b, &kc); err != nil {
		t.Fatal(err)
	}
	if kc.APIVersion != "v1" || kc.Kind != "Config" || len(kc.Clusters) != 1 || len(kc.Users) != 1 || len(kc.Contexts) != 1 {
		t.Fatalf("%+v", kc)
	}
	context := kc.Contexts[0]
	if context.Name != kc.CurrentContext || context.Context["cluster"] != kc.Clusters[0].Name || context.Context["user"] != kc.Users[0].Name {
		t.Errorf("the current context leads nowhere: %+v", kc)
	}
	if kc.Clusters[0].Cluster["server"] != "https://127.0.0.1:1" || kc.Clusters[0].Cluster["certificate-authority"] != "/ca" {
		t.Errorf("%+v", kc.Clusters)
	}
	if kc.Users[0].User["client-certificate"] != "/crt" || kc.Users[0].User["client-key"] != "/key" {
		t.Errorf("%+v", kc.Users)
	}
}

func TestTokensAreOnePerUserAndStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.csv")
	if err := writeTokens(file); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bufio.NewReader(bytes.NewReader(before))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var users []string
	for _, row := range rows {
		if len(row) != 4 || len(row[0]) != 48 || seen[row[0]] || row[3] != row[1]+"s" {
			t.Errorf("row %q", row)
		}
		seen[row[0]] = true
		users = append(users, row[1])
	}
	if !slices.Equal(users, tokenUsers) {
		t.Errorf("users are %v", users)
	}
	if err := writeTokens(file); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the tokens changed with the second start of the same cluster")
	}
}
