package rig

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// ports is how many ports from the base on a cluster uses.
const ports = 7

// options are the flags of "rig up"; README.md beside the module lists them.
type options struct {
	dir, etcdURL, etcdPrefix, kwok, metricsServer, featureGates string
	portBase, nodes                                             int
	hpaSync, hpaStabilization, minRequestTimeout, compaction    time.Duration
	readyTimeout                                                time.Duration
	maxInflight, maxMutating                                    int
	etcdQuota                                                   int64
	scheduler, restart, durable, endOnStdinClose                bool
	apiserverArgs, kcmArgs                                      []string
}

// parseOptions reads the flags and checks what can be checked without starting
// anything. Usage and flag errors are printed to out.
func parseOptions(args []string, out io.Writer) (*options, error) {
	var o options
	fs := flag.NewFlagSet("rig up", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.dir, "dir", "", "state directory (required); given again, it keeps its certificates, tokens and etcd data")
	fs.IntVar(&o.portBase, "port-base", 21000, "ports base..base+6 on 127.0.0.1; 0 picks a free run of them")
	fs.IntVar(&o.nodes, "nodes", 1, "create Nodes n1..nN, which kwok makes Ready; 0 for none")
	fs.StringVar(&o.etcdURL, "etcd", "", "use this etcd, e.g. http://127.0.0.1:2379, not the embedded one")
	fs.StringVar(&o.etcdPrefix, "etcd-prefix", "/registry", "key prefix; one a cluster lets several clusters share one etcd")
	fs.StringVar(&o.kwok, "kwok", "", "path of the kwok binary (default: beside this one; - for none)")
	fs.StringVar(&o.metricsServer, "metrics-server", "", "path of the metrics-server binary (default: beside this one; - for none)")
	fs.StringVar(&o.featureGates, "feature-gates", "", "for apiserver, controller-manager and scheduler, e.g. HPAScaleToZero=true")
	fs.DurationVar(&o.hpaSync, "hpa-sync", 2*time.Second, "HPA sync period (product default 15s)")
	fs.DurationVar(&o.hpaStabilization, "hpa-stabilization", 10*time.Second, "HPA downscale stabilisation (product default 5m)")
	fs.DurationVar(&o.minRequestTimeout, "min-request-timeout", 30*time.Minute, "a few seconds makes every watch end early and often")
	fs.DurationVar(&o.compaction, "compaction", 5*time.Minute, "a few seconds makes old resourceVersions answer 410 Gone")
	fs.DurationVar(&o.readyTimeout, "ready-timeout", 2*time.Minute, "how long one component may take until it is ready")
	fs.IntVar(&o.maxInflight, "max-requests-inflight", 400, "low values give 429s")
	fs.IntVar(&o.maxMutating, "max-mutating-requests-inflight", 200, "low values give 429s")
	fs.BoolVar(&o.scheduler, "scheduler", true, "start kube-scheduler")
	fs.BoolVar(&o.restart, "restart", true, "start a component again, on its old port, when it dies")
	fs.BoolVar(&o.durable, "durable", false, "fsync in etcd, for kill -9 of etcd")
	fs.BoolVar(&o.endOnStdinClose, "end-on-stdin-close", false, "end when standard input ends, so that nothing outlives a harness that was killed")
	fs.Int64Var(&o.etcdQuota, "etcd-quota", 0, "embedded etcd's quota in bytes; e.g. 8388608 for store-full tests")
	fs.Func("apiserver-arg", "one more kube-apiserver flag, given whole; may be repeated", appendTo(&o.apiserverArgs))
	fs.Func("kcm-arg", "one more kube-controller-manager flag, given whole; may be repeated", appendTo(&o.kcmArgs))
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("argument %q is not understood: every setting is a flag, see rig up --help", fs.Arg(0))
	}
	if o.dir == "" {
		return nil, errors.New("--dir is required: a folder for the state of the cluster")
	}
	if o.portBase != 0 && (o.portBase < 1024 || o.portBase > 65535-ports) {
		return nil, fmt.Errorf("--port-base %d is out of range: give 0 or 1024 to %d", o.portBase, 65535-ports)
	}
	if o.nodes < 0 || o.nodes > 1000 {
		return nil, fmt.Errorf("--nodes %d is out of range: give 0 to 1000", o.nodes)
	}
	if o.etcdURL != "" && (o.etcdQuota != 0 || o.durable) {
		return nil, errors.New("--etcd-quota and --durable are settings of the embedded etcd: leave them or --etcd out")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	o.dir = dir
	return &o, nil
}

func appendTo(list *[]string) func(string) error {
	return func(a string) error {
		*list = append(*list, a)
		return nil
	}
}

// pick returns the program to start: the one named, or the one beside this
// binary; none for "-" or where there is none.
func pick(named, self, name string) string {
	switch named {
	case "-":
		return ""
	case "":
		f := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(f); err != nil {
			return ""
		}
		return f
	}
	return named
}
