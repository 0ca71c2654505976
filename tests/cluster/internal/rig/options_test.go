package rig

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaultsOfTheFlags(t *testing.T) {
	o, err := parseOptions([]string{"--dir", "d"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(o.dir) {
		t.Errorf("dir is relative: %s", o.dir)
	}
	if o.portBase != 21000 || o.nodes != 1 || !o.scheduler || !o.restart || o.durable || o.endOnStdinClose {
		t.Errorf("%+v", o)
	}
	if o.hpaSync != 2*time.Second || o.hpaStabilization != 10*time.Second {
		t.Errorf("HPA: %s, %s", o.hpaSync, o.hpaStabilization)
	}
}

func TestFlagsReachTheComponents(t *testing.T) {
	o, err := parseOptions([]string{"--dir", t.TempDir(), "--port-base=23000", "--hpa-sync=15s", "--hpa-stabilization=5m",
		"--min-request-timeout=3s", "--compaction=5s", "--etcd-quota=8388608", "--durable", "--max-requests-inflight=4",
		"--feature-gates=HPAScaleToZero=true", "--apiserver-arg=--watch-cache=false", "--apiserver-arg=--goaway-chance=0.02", "--kcm-arg=--v=4"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := prepare(o, "/rig")
	if err != nil {
		t.Fatal(err)
	}
	has := func(what string, args []string, want ...string) {
		for _, w := range want {
			if !slices.Contains(args, w) {
				t.Errorf("%s: %s is missing in %v", what, w, args)
			}
		}
	}
	has("etcd", c.etcdArgs(), "--client-port=23001", "--peer-port=23002", "--quota-bytes=8388608", "--unsafe-no-fsync=false")
	has("apiserver", c.apiserverArgs(), "--secure-port=23000", "--etcd-servers=http://127.0.0.1:23001", "--min-request-timeout=3", "--etcd-compaction-interval=5s",
		"--max-requests-inflight=4", "--feature-gates=HPAScaleToZero=true", "--watch-cache=false", "--goaway-chance=0.02", "--enable-aggregator-routing=false")
	has("kcm", c.kcmArgs(), "--secure-port=23003", "--horizontal-pod-autoscaler-sync-period=15s", "--horizontal-pod-autoscaler-downscale-stabilization=5m0s", "--v=4", "--feature-gates=HPAScaleToZero=true")
	has("scheduler", c.schedulerArgs(), "--secure-port=23004", "--feature-gates=HPAScaleToZero=true")
	has("kwok", c.kwokArgs(), "--node-port=23005")
	has("metrics-server", c.metricsServerArgs(), "--secure-port=23006")
	if c.st.HPASync != "15s" || c.st.HPAStabilization != "5m0s" || !slices.Equal(c.st.Nodes, []string{"n1"}) {
		t.Errorf("state: %+v", c.st)
	}
}

func TestAnEtcdOfSomebodyElseIsUsed(t *testing.T) {
	o, err := parseOptions([]string{"--dir", t.TempDir(), "--etcd=http://127.0.0.1:2379", "--etcd-prefix=/c2"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := prepare(o, "/rig")
	if err != nil {
		t.Fatal(err)
	}
	if args := c.apiserverArgs(); !slices.Contains(args, "--etcd-servers=http://127.0.0.1:2379") || !slices.Contains(args, "--etcd-prefix=/c2") {
		t.Errorf("%v", args)
	}
}

func TestWrongFlagsNameTheFix(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "--dir is required"},
		{[]string{"--dir", "d", "--port-base", "80"}, "give 0 or 1024 to"},
		{[]string{"--dir", "d", "--port-base", "65530"}, "give 0 or 1024 to"},
		{[]string{"--dir", "d", "--nodes", "-1"}, "give 0 to 1000"},
		{[]string{"--dir", "d", "--etcd", "http://x", "--durable"}, "leave them or --etcd out"},
		{[]string{"--dir", "d", "stray"}, `"stray" is not understood`},
		{[]string{"--no-such-flag"}, "no-such-flag"},
		{[]string{"--hpa-sync", "fast"}, "hpa-sync"},
	} {
		_, err := parseOptions(tc.args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.want)
		}
	}
}

// README.md's table and the flags are the same list.
func TestEveryFlagIsDocumented(t *testing.T) {
	var help bytes.Buffer
	if _, err := parseOptions([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	var flags []string
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(help.String(), -1) {
		flags = append(flags, m[1])
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(string(readme), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(flags)
	slices.Sort(documented)
	if len(flags) < 20 || !slices.Equal(flags, documented) {
		t.Errorf("flags:      %v\ndocumented: %v", flags, documented)
	}
}

func TestProgramsAreFoundBesideTheRig(t *testing.T) {
	dir := t.TempDir()
	self := filepath.Join(dir, "rig")
	if got := pick("", self, "kwok"); got != "" {
		t.Errorf("none there, got %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "kwok"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := pick("", self, "kwok"); got != filepath.Join(dir, "kwok") {
		t.Errorf("beside: got %q", got)
	}
	if got := pick("-", self, "kwok"); got != "" {
		t.Errorf("-: got %q", got)
	}
	if got := pick("/elsewhere", self, "kwok"); got != "/elsewhere" {
		t.Errorf("named: got %q", got)
	}
}
