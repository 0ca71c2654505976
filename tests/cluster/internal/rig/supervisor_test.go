package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays a component: with FAKE_COMPONENT set it serves
// /healthz on its first argument's port, or does what that variable says.
func TestMain(m *testing.M) {
	switch os.Getenv("FAKE_COMPONENT") {
	case "":
		os.Exit(m.Run())
	case "dies":
		fmt.Println("cannot work")
		os.Exit(3)
	case "mute":
		time.Sleep(time.Minute)
	case "serves":
		http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
		fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
		os.Exit(1)
	}
}

type fakeRig struct {
	*supervisor
	t      *testing.T
	cancel context.CancelFunc
	self   string
}

func newFakeRig(t *testing.T, behaviour string) *fakeRig {
	t.Helper()
	t.Setenv("FAKE_COMPONENT", behaviour)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &supervisor{ctx: ctx, restart: true, readyTimeout: 20 * time.Second, st: &State{Dir: t.TempDir()}}
	t.Cleanup(func() {
		cancel()
		s.stopAll()
	})
	return &fakeRig{s, t, cancel, self}
}

func (f *fakeRig) startOne(name string) (int, error) {
	f.t.Helper()
	base, err := freeBase()
	if err != nil {
		f.t.Fatal(err)
	}
	return base, f.start(name, base, fmt.Sprintf("http://127.0.0.1:%d/healthz", base), nil, f.self, strconv.Itoa(base))
}

func (f *fakeRig) state() State {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.st.Dir, "state.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var st State
	if err := json.Unmarshal(b, &st); err != nil {
		f.t.Fatal(err)
	}
	return st
}

// eventually waits for a condition, at most 20 s.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestAKilledComponentComesBackOnItsPort(t *testing.T) {
	f := newFakeRig(t, "serves")
	port, err := f.startOne("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.writeState(); err != nil {
		t.Fatal(err)
	}
	before := f.state().Components[0]
	if before.PID == 0 || before.Port != port || before.Restarts != 0 {
		t.Fatalf("%+v", before)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "state.json names another process", func() bool { return f.state().Components[0].Restarts == 1 })
	after := f.state().Components[0]
	if after.PID == before.PID || after.Port != port {
		t.Errorf("before %+v, after %+v", before, after)
	}
	eventually(t, "it answers again", func() bool { return get(t.Context(), http.DefaultClient, after.Healthz) == nil })
}

func TestStopAllEndsEvenAFrozenComponent(t *testing.T) {
	f := newFakeRig(t, "serves")
	for _, name := range []string{"one", "two"} {
		if _, err := f.startOne(name); err != nil {
			t.Fatal(err)
		}
	}
	one, two := f.st.Components[0].PID, f.st.Components[1].PID
	if err := syscall.Kill(two, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.cancel()
	began := time.Now()
	f.stopAll()
	if took := time.Since(began); took > stopGrace {
		t.Errorf("took %s: a thawed component takes SIGTERM", took)
	}
	if alive(one) || alive(two) {
		t.Error("a process was left")
	}
}

func TestStopAllWinsOverARestart(t *testing.T) {
	f := newFakeRig(t, "serves")
	port, err := f.startOne("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(f.st.Components[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-f.children[0].done
	f.stopAll() // within the restart delay
	time.Sleep(2 * restartDelay)
	if err := checkPort("one", port); err != nil {
		t.Errorf("it was started again after the end: %v", err)
	}
}

func TestADeathBeforeReadyIsAnErrorAtOnce(t *testing.T) {
	f := newFakeRig(t, "dies")
	began := time.Now()
	_, err := f.startOne("one")
	if err == nil || !strings.Contains(err.Error(), "one: ended before it was ready: exit status 3") {
		t.Fatalf("error is %v", err)
	}
	if time.Since(began) > 10*time.Second {
		t.Errorf("took %s", time.Since(began))
	}
	log, err := os.ReadFile(f.st.Components[0].Log)
	if err != nil || !strings.Contains(string(log), "cannot work") {
		t.Errorf("log: %q, %v", log, err)
	}
}

func TestNeverReadyIsAnErrorThatNamesTheLog(t *testing.T) {
	f := newFakeRig(t, "mute")
	f.readyTimeout = 300 * time.Millisecond
	_, err := f.startOne("one")
	if err == nil || !strings.Contains(err.Error(), "one: not ready after 300ms") || !strings.Contains(err.Error(), "one.log") {
		t.Fatalf("error is %v", err)
	}
}

func TestATakenPortIsAnErrorThatNamesIt(t *testing.T) {
	f := newFakeRig(t, "serves")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	err = f.start("one", port, "", nil, f.self)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("one: port %d is taken", port)) || !strings.Contains(err.Error(), "--port-base") {
		t.Fatalf("error is %v", err)
	}
	if len(f.st.Components) != 0 {
		t.Error("it was started all the same")
	}
}

func TestFreeBaseHasAllPortsFree(t *testing.T) {
	base, err := freeBase()
	if err != nil {
		t.Fatal(err)
	}
	if base < firstFreeBase || base > lastFreeBase {
		t.Errorf("base %d", base)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(base+ports-1)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if free(base) {
		t.Error("its last port is taken, yet it counts as free")
	}
}
