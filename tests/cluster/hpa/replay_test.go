// Package hpa runs the horizontal pod autoscaler of Kubernetes itself, the
// controller of kube-controller-manager, through given timelines in virtual
// time and says what it did at every sync. The pure implementation of the
// product is held against it.
//
//	WINDLASS_HPA_TIMELINES=in.jsonl WINDLASS_HPA_ROWS=out.jsonl go test ./hpa
//
// Without these, one timeline that lies beside this file is replayed.
package hpa

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

//go:embed testdata/example.jsonl
var example []byte

// TestMain silences the controller: nobody reads what it logs of each sync. Its
// error handlers also share one clock, which no bubble may do with another.
func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil
	os.Exit(m.Run())
}

// TestReplay replays the timelines of a file and writes what happened, one JSON line each.
func TestReplay(t *testing.T) {
	in, out := os.Getenv("WINDLASS_HPA_TIMELINES"), os.Getenv("WINDLASS_HPA_ROWS")
	if in == "" {
		t.Skip("WINDLASS_HPA_TIMELINES names no file: TestExample covers the replay itself")
	}
	text, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	results := replayAll(t, text)
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	writer := bufio.NewWriterSize(file, 1<<20)
	encoder := json.NewEncoder(writer)
	for _, result := range results {
		if err := encoder.Encode(result); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestExample shows the replay at work: 2 replicas, a target of 10 each, 35 waiting from the second sync on.
func TestExample(t *testing.T) {
	results := replayAll(t, example)
	if len(results) != 1 {
		t.Fatalf("%d results for one timeline", len(results))
	}
	want := []int32{2, 4, 4}
	for index, row := range results[0].Rows {
		if at := int64(index+1) * 15e9; row.At != at || row.Replicas != want[index] {
			t.Errorf("sync %d: %d replicas at %d ns, want %d at %d", index, row.Replicas, row.At, want[index], at)
		}
	}
	if len(results[0].Rows) != len(want) {
		t.Errorf("%d syncs, want %d", len(results[0].Rows), len(want))
	}
}

type result struct {
	ID   uint64 `json:"id"`
	Rows []row  `json:"rows"`
}

// replayAll replays the lines in order, as many at once as there are processors.
func replayAll(t *testing.T, text []byte) []result {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	results := make([]result, len(lines))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for index := range next {
				line, err := parse(lines[index])
				if err == nil {
					results[index], err = replay(t, line)
				}
				if err != nil {
					t.Errorf("line %d: %v", index+1, err)
				}
			}
		})
	}
	for index := range lines {
		next <- index
	}
	close(next)
	workers.Wait()
	return results
}

// replay lives one timeline in a bubble whose clock jumps to whatever comes next.
func replay(t *testing.T, line *timeline) (out result, err error) {
	synctest.Test(t, func(*testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer synctest.Wait()
		defer cancel()
		world, e := newWorld(line)
		if e != nil {
			err = e
			return
		}
		controller := world.controller(ctx)
		go world.hpas.RunWithContext(ctx)
		go controller.Run(ctx, 1)
		for index := range line.Events {
			event := &line.Events[index]
			if event.At == 0 {
				continue
			}
			time.Sleep(time.Until(world.start.Add(millis(event.At))))
			if err = world.apply(event); err != nil {
				return
			}
		}
		time.Sleep(time.Until(world.start.Add(time.Duration(line.Syncs)*15*time.Second + 5*time.Second)))
		synctest.Wait()
		world.mu.Lock()
		defer world.mu.Unlock()
		out = result{ID: line.ID, Rows: world.rows}
		if len(out.Rows) < line.Syncs {
			err = fmt.Errorf("timeline %d: %d syncs of %d", line.ID, len(out.Rows), line.Syncs)
		}
	})
	return out, err
}
