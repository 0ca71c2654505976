package rig

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Ports, counted from the base.
const (
	apiserverPort = iota
	etcdPort
	etcdPeerPort
	kcmPort
	schedulerPort
	kwokPort
	metricsServerPort
)

// controllers are those an autoscaler's tests need, by their names in
// cmd/kube-controller-manager/names.
var controllers = []string{
	"serviceaccount-token-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller",
	"namespace-controller", "garbage-collector-controller", "pod-garbage-collector-controller",
	"resourcequota-controller", "clusterrole-aggregation-controller",
	"deployment-controller", "replicaset-controller", "replicationcontroller-controller", "statefulset-controller", "daemonset-controller",
	"job-controller", "cronjob-controller", "ttl-after-finished-controller",
	"horizontal-pod-autoscaler-controller", "disruption-controller",
	"endpointslice-controller", "endpoints-controller",
	"node-lifecycle-controller", "taint-eviction-controller",
}

// startAll starts the components in the order of their needs; each is ready
// before the next one starts.
func (c *cluster) startAll(s *supervisor) error {
	admin, err := c.p.client("admin")
	if err != nil {
		return err
	}
	if c.o.etcdURL == "" {
		if err := s.start("etcd", c.port(etcdPort), c.st.EtcdURL+"/health", nil, c.self, c.etcdArgs()...); err != nil {
			return err
		}
	}
	// "/readyz" turns ok with all start-up hooks done, RBAC's bootstrap among them.
	if err := s.start("kube-apiserver", c.port(apiserverPort), c.st.APIServer+"/readyz", admin, c.self, c.apiserverArgs()...); err != nil {
		return err
	}
	if err := s.start("kube-controller-manager", c.port(kcmPort), c.https(kcmPort, "healthz"), admin, c.self, c.kcmArgs()...); err != nil {
		return err
	}
	if c.o.scheduler {
		if err := s.start("kube-scheduler", c.port(schedulerPort), c.https(schedulerPort, "healthz"), admin, c.self, c.schedulerArgs()...); err != nil {
			return err
		}
	}
	if c.o.kwok != "" {
		if err := s.start("kwok", c.port(kwokPort), fmt.Sprintf("http://127.0.0.1:%d/healthz", c.port(kwokPort)), nil, c.o.kwok, c.kwokArgs()...); err != nil {
			return err
		}
	}
	if c.o.metricsServer != "" {
		return c.startMetricsServer(s, admin)
	}
	return nil
}

func (c *cluster) startMetricsServer(s *supervisor, admin *http.Client) error {
	return s.start("metrics-server", c.port(metricsServerPort), c.https(metricsServerPort, "livez"), admin, c.o.metricsServer, c.metricsServerArgs()...)
}

func (c *cluster) port(offset int) int { return c.o.portBase + offset }

func (c *cluster) https(offset int, path string) string {
	return fmt.Sprintf("https://127.0.0.1:%d/%s", c.port(offset), path)
}

// serving are the flags of a component that serves TLS on its port.
func (c *cluster) serving(offset int) []string {
	return []string{
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.port(offset)),
		"--tls-cert-file=" + c.p.path("apiserver.crt"), "--tls-private-key-file=" + c.p.path("apiserver.key"),
	}
}

// identity are the flags of a component that is a client of the API server and
// lets it judge its own callers.
func (c *cluster) identity(user string) []string {
	kc := c.kubeconfig(user)
	return []string{"--kubeconfig=" + kc, "--authentication-kubeconfig=" + kc, "--authorization-kubeconfig=" + kc}
}

func (c *cluster) gates() []string {
	if c.o.featureGates == "" {
		return nil
	}
	return []string{"--feature-gates=" + c.o.featureGates}
}

func (c *cluster) etcdArgs() []string {
	return []string{
		"etcd", "--data-dir=" + c.file("etcd"),
		"--client-port=" + strconv.Itoa(c.port(etcdPort)), "--peer-port=" + strconv.Itoa(c.port(etcdPeerPort)),
		"--unsafe-no-fsync=" + strconv.FormatBool(!c.o.durable),
		"--quota-bytes=" + strconv.FormatInt(c.o.etcdQuota, 10),
	}
}

func (c *cluster) apiserverArgs() []string {
	return slices.Concat([]string{"kube-apiserver"}, c.serving(apiserverPort), []string{
		"--etcd-servers=" + c.st.EtcdURL, "--etcd-prefix=" + c.o.etcdPrefix,
		// Loopback is not a legal Endpoints address, so the "kubernetes"
		// Service is left without endpoints.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--client-ca-file=" + c.p.path("ca.crt"),
		"--token-auth-file=" + c.st.Tokens,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.p.path("sa.pub"), "--service-account-signing-key-file=" + c.p.path("sa.key"),
		"--requestheader-client-ca-file=" + c.p.path("front-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.p.path("front.crt"), "--proxy-client-key-file=" + c.p.path("front.key"),
		// false: an APIService's Service may be of type ExternalName
		// (externalName: localhost), the one way to an adapter on loopback.
		"--enable-aggregator-routing=false",
		"--min-request-timeout=" + strconv.Itoa(int(c.o.minRequestTimeout.Seconds())),
		"--etcd-compaction-interval=" + c.o.compaction.String(),
		"--max-requests-inflight=" + strconv.Itoa(c.o.maxInflight),
		"--max-mutating-requests-inflight=" + strconv.Itoa(c.o.maxMutating),
		"--audit-policy-file=" + c.file("audit.yaml"), "--audit-log-path=" + c.st.AuditLog,
		"--shutdown-delay-duration=0s", "--profiling=false", "--v=1",
	}, c.gates(), c.o.apiserverArgs)
}

func (c *cluster) kcmArgs() []string {
	return slices.Concat([]string{"kube-controller-manager"}, c.serving(kcmPort), c.identity("kcm"), []string{
		"--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.p.path("sa.key"), "--root-ca-file=" + c.p.path("ca.crt"),
		"--controllers=" + strings.Join(controllers, ","),
		"--horizontal-pod-autoscaler-sync-period=" + c.o.hpaSync.String(),
		"--horizontal-pod-autoscaler-downscale-stabilization=" + c.o.hpaStabilization.String(),
		"--horizontal-pod-autoscaler-initial-readiness-delay=0s", "--horizontal-pod-autoscaler-cpu-initialization-period=0s",
		"--concurrent-horizontal-pod-autoscaler-syncs=20",
		"--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false", "--v=1",
	}, c.gates(), c.o.kcmArgs)
}

func (c *cluster) schedulerArgs() []string {
	return slices.Concat([]string{"kube-scheduler"}, c.serving(schedulerPort), c.identity("scheduler"), []string{
		"--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000", "--v=1",
	}, c.gates())
}

func (c *cluster) kwokArgs() []string {
	port := strconv.Itoa(c.port(kwokPort))
	return []string{
		"--kubeconfig=" + c.kubeconfig("kwok"), "--config=" + c.file("kwok.yaml"), "--manage-all-nodes=true",
		"--node-ip=127.0.0.1", "--node-port=" + port, "--server-address=127.0.0.1:" + port,
		"--tls-cert-file=" + c.p.path("apiserver.crt"), "--tls-private-key-file=" + c.p.path("apiserver.key"),
		"--node-lease-duration-seconds=40", "--cidr=10.244.0.0/16",
	}
}

// metricsServerArgs: kwok's one port plays the kubelet of every node.
func (c *cluster) metricsServerArgs() []string {
	return slices.Concat(c.serving(metricsServerPort), c.identity("metrics-server"), []string{
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port", "--kubelet-insecure-tls",
		"--metric-resolution=10s", "--kubelet-request-timeout=5s",
	})
}
