package hpa

import (
	"encoding/json"
	"fmt"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
)

// timeline is one life of an autoscaler: what it sees, and when. Times are
// milliseconds since the start; what happens at 0 is there before the controller.
type timeline struct {
	ID     uint64  `json:"id"`
	Syncs  int     `json:"syncs"`
	Events []event `json:"events"`
}

// event changes exactly one thing.
type event struct {
	At             int64        `json:"at"`
	HPA            *hpaSpec     `json:"hpa"`
	Replicas       *int32       `json:"replicas"`        // spec.replicas, by somebody else
	StatusReplicas *int32       `json:"status_replicas"` // status.replicas
	Pod            *pod         `json:"pod"`             // as it is from now on
	Gone           *string      `json:"gone"`            // a pod that is no more
	Metric         *metricEvent `json:"metric"`
	Selector       *bool        `json:"selector"` // whether the scale has one
	ScaleReads     *bool        `json:"scale_reads"`
	Conflicts      *int         `json:"conflicts"` // so many of the next writes meet a conflict
	Writes         *bool        `json:"writes"`    // false: every write is refused
}

type hpaSpec struct {
	Min       int32      `json:"min"`
	Max       int32      `json:"max"`
	Metrics   []metric   `json:"metrics"`
	Behaviour *behaviour `json:"behaviour"`
}

type metric struct {
	Source   string `json:"source"`   // external, object, pods, resource, container
	Resource string `json:"resource"` // cpu, memory; for the last two
	Target   string `json:"target"`   // value, average, utilization
	Amount   int64  `json:"amount"`   // thousandths, or percent for utilization
}

type behaviour struct {
	Up   *rules `json:"up"`
	Down *rules `json:"down"`
}

// rules leaves out what the API server's defaults shall fill in.
type rules struct {
	Window    *int32   `json:"window"`
	Select    *string  `json:"select"`
	Policies  []policy `json:"policies"`
	Tolerance *int64   `json:"tolerance"` // thousandths
}

type policy struct {
	Kind   string `json:"kind"`
	Value  int32  `json:"value"`
	Period int32  `json:"period"`
}

type pod struct {
	Name       string      `json:"name"`
	Phase      string      `json:"phase"`
	Ready      *readiness  `json:"ready"`
	Started    *int64      `json:"started"`
	Deleting   bool        `json:"deleting"`
	Containers []container `json:"containers"`
}

type readiness struct {
	Status string `json:"status"`
	Since  int64  `json:"since"`
}

type container struct {
	Name   string `json:"name"`
	CPU    *int64 `json:"cpu"`    // request, thousandths
	Memory *int64 `json:"memory"` // request, thousandths
}

// metricEvent is what the API of one metric answers from now on.
type metricEvent struct {
	Index  int        `json:"index"`
	Error  *string    `json:"error"`
	Values []int64    `json:"values"` // external
	Object *int64     `json:"object"`
	Pods   []podValue `json:"pods"`
}

type podValue struct {
	Pod    string `json:"pod"`
	Milli  int64  `json:"milli"`
	At     int64  `json:"at"`
	Window int64  `json:"window"`
}

const (
	namespace = "default"
	name      = "windlass"
	mainName  = "main"
)

var podLabels = map[string]string{"app": name}

// object is the autoscaler as the API server would store it.
func (s *hpaSpec) object() (*autoscaling.HorizontalPodAutoscaler, error) {
	hpa := &autoscaling.HorizontalPodAutoscaler{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name},
		Spec: autoscaling.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscaling.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    &s.Min,
			MaxReplicas:    s.Max,
		},
	}
	for index, metric := range s.Metrics {
		spec, err := metric.spec(index)
		if err != nil {
			return nil, err
		}
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, spec)
	}
	if s.Behaviour != nil {
		hpa.Spec.Behavior = &autoscaling.HorizontalPodAutoscalerBehavior{
			ScaleUp:   s.Behaviour.Up.object(),
			ScaleDown: s.Behaviour.Down.object(),
		}
	}
	defaults.SetDefaults_HorizontalPodAutoscaler(hpa)
	return hpa, nil
}

func (m metric) spec(index int) (autoscaling.MetricSpec, error) {
	var target autoscaling.MetricTarget
	switch m.Target {
	case "value":
		target.Type, target.Value = autoscaling.ValueMetricType, resource.NewMilliQuantity(m.Amount, resource.DecimalSI)
	case "average":
		target.Type = autoscaling.AverageValueMetricType
		target.AverageValue = resource.NewMilliQuantity(m.Amount, resource.DecimalSI)
	case "utilization":
		percent := int32(m.Amount)
		target.Type, target.AverageUtilization = autoscaling.UtilizationMetricType, &percent
	default:
		return autoscaling.MetricSpec{}, fmt.Errorf("unknown target %q", m.Target)
	}
	identifier := autoscaling.MetricIdentifier{Name: metricName(index)}
	switch m.Source {
	case "external":
		source := &autoscaling.ExternalMetricSource{Metric: identifier, Target: target}
		return autoscaling.MetricSpec{Type: autoscaling.ExternalMetricSourceType, External: source}, nil
	case "object":
		of := autoscaling.CrossVersionObjectReference{APIVersion: "v1", Kind: "Service", Name: name}
		source := &autoscaling.ObjectMetricSource{DescribedObject: of, Metric: identifier, Target: target}
		return autoscaling.MetricSpec{Type: autoscaling.ObjectMetricSourceType, Object: source}, nil
	case "pods":
		source := &autoscaling.PodsMetricSource{Metric: identifier, Target: target}
		return autoscaling.MetricSpec{Type: autoscaling.PodsMetricSourceType, Pods: source}, nil
	case "resource":
		source := &autoscaling.ResourceMetricSource{Name: core.ResourceName(m.Resource), Target: target}
		return autoscaling.MetricSpec{Type: autoscaling.ResourceMetricSourceType, Resource: source}, nil
	case "container":
		source := &autoscaling.ContainerResourceMetricSource{
			Name: core.ResourceName(m.Resource), Container: mainName, Target: target,
		}
		return autoscaling.MetricSpec{Type: autoscaling.ContainerResourceMetricSourceType, ContainerResource: source}, nil
	}
	return autoscaling.MetricSpec{}, fmt.Errorf("unknown source %q", m.Source)
}

func metricName(index int) string { return fmt.Sprintf("m%d", index) }

func (r *rules) object() *autoscaling.HPAScalingRules {
	if r == nil {
		return nil
	}
	object := &autoscaling.HPAScalingRules{StabilizationWindowSeconds: r.Window}
	if r.Select != nil {
		choice := autoscaling.ScalingPolicySelect(*r.Select)
		object.SelectPolicy = &choice
	}
	for _, p := range r.Policies {
		object.Policies = append(object.Policies, autoscaling.HPAScalingPolicy{
			Type: autoscaling.HPAScalingPolicyType(p.Kind), Value: p.Value, PeriodSeconds: p.Period,
		})
	}
	if r.Tolerance != nil {
		object.Tolerance = resource.NewMilliQuantity(*r.Tolerance, resource.DecimalSI)
	}
	return object
}

// object is the pod as a watch would bring it.
func (p *pod) object(start time.Time) *core.Pod {
	object := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: p.Name, Labels: podLabels},
		Status:     core.PodStatus{Phase: core.PodPhase(p.Phase)},
	}
	if p.Deleting {
		now := meta.Now()
		object.DeletionTimestamp = &now
	}
	if p.Started != nil {
		started := meta.NewTime(start.Add(millis(*p.Started)))
		object.Status.StartTime = &started
	}
	if p.Ready != nil {
		object.Status.Conditions = []core.PodCondition{{
			Type:               core.PodReady,
			Status:             core.ConditionStatus(p.Ready.Status),
			LastTransitionTime: meta.NewTime(start.Add(millis(p.Ready.Since))),
		}}
	}
	for _, c := range p.Containers {
		requests := core.ResourceList{}
		if c.CPU != nil {
			requests[core.ResourceCPU] = *resource.NewMilliQuantity(*c.CPU, resource.DecimalSI)
		}
		if c.Memory != nil {
			requests[core.ResourceMemory] = *resource.NewMilliQuantity(*c.Memory, resource.DecimalSI)
		}
		object.Spec.Containers = append(object.Spec.Containers, core.Container{
			Name: c.Name, Resources: core.ResourceRequirements{Requests: requests},
		})
	}
	return object
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// row is one sync: when, what it wrote and what the status said afterwards.
// Times are nanoseconds since the start.
type row struct {
	At       int64   `json:"at"`
	Before   int32   `json:"before"`
	Replicas int32   `json:"replicas"`
	Wrote    *int64  `json:"wrote"`
	Status   *status `json:"status"`
}

type status struct {
	Current    int32             `json:"current"`
	Desired    int32             `json:"desired"`
	LastScale  *int64            `json:"last_scale"`
	Conditions map[string]string `json:"conditions"` // type: "True Reason"
	Metrics    []*value          `json:"metrics"`    // null where there is none
}

type value struct {
	Value       *int64 `json:"value"`
	Average     *int64 `json:"average"`
	Utilization *int32 `json:"utilization"`
}

func statusOf(s *autoscaling.HorizontalPodAutoscalerStatus, start time.Time) *status {
	out := &status{Current: s.CurrentReplicas, Desired: s.DesiredReplicas, Conditions: map[string]string{}, Metrics: []*value{}}
	if s.LastScaleTime != nil {
		at := s.LastScaleTime.Sub(start).Nanoseconds()
		out.LastScale = &at
	}
	for _, c := range s.Conditions {
		out.Conditions[string(c.Type)] = string(c.Status) + " " + c.Reason
	}
	for _, m := range s.CurrentMetrics {
		out.Metrics = append(out.Metrics, valueOf(m))
	}
	return out
}

func valueOf(m autoscaling.MetricStatus) *value {
	var current autoscaling.MetricValueStatus
	switch {
	case m.External != nil:
		current = m.External.Current
	case m.Object != nil:
		current = m.Object.Current
	case m.Pods != nil:
		current = m.Pods.Current
	case m.Resource != nil:
		current = m.Resource.Current
	case m.ContainerResource != nil:
		current = m.ContainerResource.Current
	default:
		return nil
	}
	return &value{Value: milli(current.Value), Average: milli(current.AverageValue), Utilization: current.AverageUtilization}
}

func milli(q *resource.Quantity) *int64 {
	if q == nil {
		return nil
	}
	m := q.MilliValue()
	return &m
}

func parse(line []byte) (*timeline, error) {
	t := &timeline{}
	return t, json.Unmarshal(line, t)
}
