// Command rig runs a real Kubernetes control plane (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler) on loopback for tests, with no
// container engine and no download of prebuilt programs.
//
//	rig up --dir D [flags]     start everything, print one JSON line, wait for a signal
//	rig etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]
//
// "up" executes this same file once per component. One process each, since
// more than one component installs the process-wide signal handler (the second
// call panics), feature gates and metrics registries are process globals, and
// a test must be able to freeze or kill one component alone.
//
// This package holds only what needs Kubernetes' own packages; everything else
// is in internal/rig, so that its tests link in seconds.
package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // CronJob time zones

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"windlass.dev/tests/cluster/internal/rig"
)

const usage = "usage: rig up|etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]; rig up --help lists those of the test rig"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	// The components read their arguments from os.Args[1:].
	os.Args = append([]string{name}, os.Args[2:]...)
	switch name {
	case "up":
		os.Exit(rig.Main(os.Args[1:]))
	case "etcd":
		if err := runEtcd(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "rig etcd:", err)
			os.Exit(1)
		}
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(kcm.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "help", "-h", "--help":
		fmt.Println(usage)
	default:
		fmt.Fprintf(os.Stderr, "rig: no such command %q\n%s\n", name, usage)
		os.Exit(2)
	}
}
