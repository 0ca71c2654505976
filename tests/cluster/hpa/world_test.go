package hpa

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// world is everything the controller talks to. The HPA comes through a real
// informer, because its resync decides when the controller works; the rest is
// answered from these fields.
type world struct {
	start time.Time
	pods  cache.Indexer
	watch *watch.FakeWatcher
	hpas  cache.SharedIndexInformer

	mu             sync.Mutex
	hpa            *autoscaling.HorizontalPodAutoscaler
	version        int
	replicas       int32
	statusReplicas int32
	selector       bool
	readable       bool
	writable       bool
	conflicts      int
	retrying       bool
	answers        map[int]*metricEvent
	rows           []row
}

func newWorld(t *timeline) (*world, error) {
	w := &world{
		start:    time.Now(),
		pods:     cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
		watch:    watch.NewFakeWithChanSize(64, false),
		selector: true,
		readable: true,
		writable: true,
		answers:  map[int]*metricEvent{},
	}
	for _, e := range t.Events {
		if e.At == 0 {
			if err := w.apply(&e); err != nil {
				return nil, err
			}
		}
	}
	if w.hpa == nil {
		return nil, errors.New("no event at 0 sets the hpa")
	}
	w.hpas = cache.NewSharedIndexInformer(source{w}, &autoscaling.HorizontalPodAutoscaler{}, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	return w, nil
}

// controller is the very one of kube-controller-manager, with its defaults.
func (w *world) controller(ctx context.Context) *podautoscaler.HorizontalController {
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{apps})
	mapper.Add(apps.WithKind("Deployment"), apimeta.RESTScopeNamespace)
	return podautoscaler.NewHorizontalController(ctx, events{}, scales{w}, hpas{w}, mapper, answers{w},
		hpaInformer{w}, podInformer{w}, 15*time.Second, 5*time.Minute, 0.1, 5*time.Minute, 30*time.Second)
}

func (w *world) apply(e *event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.HPA != nil:
		hpa, err := e.HPA.object()
		if err != nil {
			return err
		}
		if w.hpa != nil {
			hpa.Status = *w.hpa.Status.DeepCopy()
		}
		w.store(hpa)
	case e.Replicas != nil:
		w.replicas = *e.Replicas
	case e.StatusReplicas != nil:
		w.statusReplicas = *e.StatusReplicas
	case e.Pod != nil:
		return w.pods.Update(e.Pod.object(w.start))
	case e.Gone != nil:
		return w.pods.Delete(&core.Pod{ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: *e.Gone}})
	case e.Metric != nil:
		w.answers[e.Metric.Index] = e.Metric
	case e.Selector != nil:
		w.selector = *e.Selector
	case e.ScaleReads != nil:
		w.readable = *e.ScaleReads
	case e.Conflicts != nil:
		w.conflicts = *e.Conflicts
	case e.Writes != nil:
		w.writable = *e.Writes
	default:
		return fmt.Errorf("the event at %d ms changes nothing that is known", e.At)
	}
	return nil
}

// store keeps a new version of the HPA and tells the watch.
func (w *world) store(hpa *autoscaling.HorizontalPodAutoscaler) {
	w.version++
	hpa.ResourceVersion = fmt.Sprint(w.version)
	first := w.hpa == nil
	w.hpa = hpa
	if !first {
		w.watch.Modify(hpa.DeepCopy())
	}
}

func (w *world) now() int64 { return time.Since(w.start).Nanoseconds() }

// source lists and watches the HPA.
type source struct{ w *world }

func (s source) List(meta.ListOptions) (runtime.Object, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return &autoscaling.HorizontalPodAutoscalerList{
		ListMeta: meta.ListMeta{ResourceVersion: s.w.hpa.ResourceVersion},
		Items:    []autoscaling.HorizontalPodAutoscaler{*s.w.hpa.DeepCopy()},
	}, nil
}

func (s source) Watch(meta.ListOptions) (watch.Interface, error) { return s.w.watch, nil }

func (source) IsWatchListSemanticsUnSupported() bool { return true }

type hpaInformer struct{ w *world }

func (i hpaInformer) Informer() cache.SharedIndexInformer { return i.w.hpas }
func (i hpaInformer) Lister() autoscalinglisters.HorizontalPodAutoscalerLister {
	return autoscalinglisters.NewHorizontalPodAutoscalerLister(i.w.hpas.GetIndexer())
}

type podInformer struct{ w *world }

func (podInformer) Informer() cache.SharedIndexInformer { return synced{} }
func (i podInformer) Lister() corelisters.PodLister     { return corelisters.NewPodLister(i.w.pods) }

type synced struct{ cache.SharedIndexInformer }

func (synced) HasSynced() bool { return true }

// scales is the scale subresource of the target; reading it begins a sync.
type scales struct{ w *world }

type scaleOf struct {
	scale.ScaleInterface
	w *world
}

func (s scales) Scales(string) scale.ScaleInterface { return scaleOf{w: s.w} }

func (s scaleOf) Get(context.Context, schema.GroupResource, string, meta.GetOptions) (*autoscalingv1.Scale, error) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.retrying {
		w.rows = append(w.rows, row{At: w.now(), Before: w.replicas, Replicas: w.replicas})
	}
	w.retrying = false
	if !w.readable {
		return nil, apierrors.NewInternalError(errors.New("told not to answer"))
	}
	current := &autoscalingv1.Scale{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       autoscalingv1.ScaleSpec{Replicas: w.replicas},
		Status:     autoscalingv1.ScaleStatus{Replicas: w.statusReplicas},
	}
	if w.selector {
		current.Status.Selector = labels.SelectorFromSet(podLabels).String()
	}
	return current, nil
}

func (s scaleOf) Update(_ context.Context, resource schema.GroupResource, update *autoscalingv1.Scale, _ meta.UpdateOptions) (*autoscalingv1.Scale, error) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writable {
		w.retrying = true // the controller reads the scale again after any error
		return nil, apierrors.NewForbidden(resource, name, errors.New("told to refuse"))
	}
	if w.conflicts > 0 {
		w.conflicts--
		w.retrying = true
		return nil, apierrors.NewConflict(resource, name, errors.New("told to conflict"))
	}
	w.replicas = update.Spec.Replicas
	last, now := &w.rows[len(w.rows)-1], w.now()
	last.Replicas, last.Wrote = w.replicas, &now
	return update, nil
}

type hpas struct{ w *world }

type hpaWriter struct {
	autoscalingclient.HorizontalPodAutoscalerInterface
	w *world
}

func (h hpas) HorizontalPodAutoscalers(string) autoscalingclient.HorizontalPodAutoscalerInterface {
	return hpaWriter{w: h.w}
}

func (h hpaWriter) UpdateStatus(_ context.Context, hpa *autoscaling.HorizontalPodAutoscaler, _ meta.UpdateOptions) (*autoscaling.HorizontalPodAutoscaler, error) {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[len(w.rows)-1].Status = statusOf(&hpa.Status, w.start)
	stored := w.hpa.DeepCopy() // a status write leaves the spec alone
	stored.Status = *hpa.Status.DeepCopy()
	w.store(stored)
	return stored, nil
}

// answers is the metrics client, after the APIs' answers were parsed.
type answers struct{ w *world }

func (a answers) find(index int) (*metricEvent, error) {
	// Time passes while a metric is asked for, so that what the controller notes before is older than what it notes after.
	time.Sleep(time.Microsecond)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.rows[len(a.w.rows)-1].At = a.w.now()
	answer := a.w.answers[index]
	if answer == nil {
		return nil, errors.New("no metrics returned")
	}
	if answer.Error != nil {
		return nil, errors.New(*answer.Error)
	}
	return answer, nil
}

func (a answers) named(name string) (*metricEvent, error) {
	var index int
	if _, err := fmt.Sscanf(name, "m%d", &index); err != nil {
		return nil, err
	}
	return a.find(index)
}

func (a answers) perPod(answer *metricEvent) (metrics.PodMetricsInfo, time.Time, error) {
	if len(answer.Pods) == 0 {
		return nil, time.Time{}, errors.New("no metrics returned")
	}
	info := metrics.PodMetricsInfo{}
	for _, v := range answer.Pods {
		info[v.Pod] = metrics.PodMetric{Timestamp: a.w.start.Add(millis(v.At)), Window: millis(v.Window), Value: v.Milli}
	}
	return info, time.Now(), nil
}

func (a answers) GetResourceMetric(_ context.Context, resource core.ResourceName, _ string, _ labels.Selector, container string) (metrics.PodMetricsInfo, time.Time, error) {
	a.w.mu.Lock()
	specs := a.w.hpa.Spec.Metrics
	a.w.mu.Unlock()
	for index, spec := range specs {
		whole := spec.Resource != nil && spec.Resource.Name == resource && container == ""
		part := spec.ContainerResource != nil && spec.ContainerResource.Name == resource && spec.ContainerResource.Container == container
		if whole || part {
			answer, err := a.find(index)
			if err != nil {
				return nil, time.Time{}, err
			}
			return a.perPod(answer)
		}
	}
	return nil, time.Time{}, fmt.Errorf("nobody asked for %s of %q", resource, container)
}

func (a answers) GetRawMetric(name, _ string, _, _ labels.Selector) (metrics.PodMetricsInfo, time.Time, error) {
	answer, err := a.named(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	return a.perPod(answer)
}

func (a answers) GetObjectMetric(name, _ string, _ *autoscaling.CrossVersionObjectReference, _ labels.Selector) (int64, time.Time, error) {
	answer, err := a.named(name)
	if err != nil {
		return 0, time.Time{}, err
	}
	if answer.Object == nil {
		return 0, time.Time{}, errors.New("no metric returned")
	}
	return *answer.Object, time.Now(), nil
}

func (a answers) GetExternalMetric(name, _ string, _ labels.Selector) ([]int64, time.Time, error) {
	answer, err := a.named(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(answer.Values) == 0 {
		return nil, time.Time{}, errors.New("no metrics returned")
	}
	return answer.Values, time.Now(), nil
}

// events takes every Event and keeps none.
type events struct{}

type eventSink struct{ coreclient.EventInterface }

func (events) Events(string) coreclient.EventInterface { return eventSink{} }

func (eventSink) CreateWithEventNamespaceWithContext(_ context.Context, e *core.Event) (*core.Event, error) {
	return e, nil
}

func (eventSink) UpdateWithEventNamespaceWithContext(_ context.Context, e *core.Event) (*core.Event, error) {
	return e, nil
}

func (eventSink) PatchWithEventNamespaceWithContext(_ context.Context, e *core.Event, _ []byte) (*core.Event, error) {
	return e, nil
}

func (eventSink) CreateWithEventNamespace(e *core.Event) (*core.Event, error) { return e, nil }
func (eventSink) UpdateWithEventNamespace(e *core.Event) (*core.Event, error) { return e, nil }
func (eventSink) PatchWithEventNamespace(e *core.Event, _ []byte) (*core.Event, error) {
	return e, nil
}
