package rig

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// How a component ends: it gets SIGTERM, and SIGKILL when this has passed.
const stopGrace = 5 * time.Second

// restartDelay lies between the death of a component and its next start.
const restartDelay = 500 * time.Millisecond

// supervisor starts the components one after the other, starts one again when
// it dies, and stops them in reverse order. It touches only processes that it
// started itself.
type supervisor struct {
	ctx          context.Context
	restart      bool
	readyTimeout time.Duration
	st           *State

	mu       sync.Mutex // guards all below, and the components in st
	stopping bool
	children []*child
}

// child is one component with its present process.
type child struct {
	c     *Component
	cmd   *exec.Cmd
	ready bool          // was ready once: from then on its death is not an error
	done  chan struct{} // closed when cmd has been waited for
	err   error         // how cmd ended; to be read after done
}

// start starts a component and returns when healthz answers 200. hc is the
// client to ask with, nil for a plain one.
func (s *supervisor) start(name string, port int, healthz string, hc *http.Client, bin string, args ...string) error {
	if err := checkPort(name, port); err != nil {
		return err
	}
	ch := &child{c: &Component{
		Name: name, Port: port, Healthz: healthz,
		Log:  filepath.Join(s.st.Dir, name+".log"),
		Argv: append([]string{bin}, args...),
	}}
	s.mu.Lock()
	s.children = append(s.children, ch)
	s.st.Components = append(s.st.Components, ch.c)
	s.mu.Unlock()
	if err := s.spawn(ch); err != nil {
		return err
	}
	if hc == nil {
		hc = &http.Client{Timeout: 2 * time.Second}
	}
	first := ch.done
	deadline := time.Now().Add(s.readyTimeout)
	for {
		err := get(s.ctx, hc, healthz)
		if err == nil {
			s.mu.Lock()
			ch.ready = true
			s.mu.Unlock()
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not ready after %s: %w (see %s)", name, s.readyTimeout, err, ch.c.Log)
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-first:
			return fmt.Errorf("%s: ended before it was ready: %v (see %s)", name, ch.err, ch.c.Log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// spawn starts the process of a component and a goroutine that waits for it.
func (s *supervisor) spawn(ch *child) error {
	f, err := os.OpenFile(ch.c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(ch.c.Argv[0], ch.c.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	// A group of its own, so that Ctrl-C reaches the supervisor alone, which
	// then stops all in order; and no child outlives a supervisor that was
	// killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return fmt.Errorf("%s: not started, all is being stopped", ch.c.Name)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", ch.c.Name, err)
	}
	ch.cmd, ch.done = cmd, make(chan struct{})
	ch.c.PID = cmd.Process.Pid
	go s.wait(ch, cmd, ch.done)
	return nil
}

// wait reaps the process and starts the component again when it was ready
// before and restarts are wanted.
func (s *supervisor) wait(ch *child, cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	s.mu.Lock()
	ch.err = err
	again := ch.ready && s.restart && !s.stopping && s.ctx.Err() == nil
	s.mu.Unlock()
	close(done)
	if !again {
		return
	}
	fmt.Fprintf(os.Stderr, "rig: %s ended (%v), starting it again\n", ch.c.Name, err)
	select {
	case <-s.ctx.Done():
		return
	case <-time.After(restartDelay):
	}
	if err := s.spawn(ch); err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		return
	}
	s.mu.Lock()
	ch.c.Restarts++
	err = s.st.write()
	s.mu.Unlock()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
	}
}

// writeState writes state.json.
func (s *supervisor) writeState() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.write()
}

// stopAll stops the components, last started first, so that nothing logs about
// a server that went before it, and returns when all of them are gone.
func (s *supervisor) stopAll() {
	s.mu.Lock()
	s.stopping = true
	children := append([]*child(nil), s.children...)
	s.mu.Unlock()
	for i := len(children) - 1; i >= 0; i-- {
		s.mu.Lock()
		cmd, done := children[i].cmd, children[i].done
		s.mu.Unlock()
		if cmd == nil {
			continue
		}
		// A frozen child cannot take SIGTERM. Signals to one that has been
		// waited for are refused by os.Process, never sent to a reused pid.
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
			continue
		case <-time.After(stopGrace):
		}
		_ = cmd.Process.Kill()
		<-done
	}
}

// get asks a URL once and fails unless it answers 200.
func get(ctx context.Context, hc *http.Client, u string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", u, resp.Status, b)
	}
	return nil
}
