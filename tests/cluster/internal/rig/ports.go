package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range searched for a free run of ports: below Linux's ephemeral ports
// (32768), so that no outgoing connection takes one in between.
const (
	firstFreeBase = 20000
	lastFreeBase  = 32000
)

// checkPort fails when somebody listens on the port.
func checkPort(name string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("%s: port %d is taken, choose another --port-base: %w", name, port, err)
	}
	return l.Close()
}

// freeBase finds a base whose ports are all free now. Another program may take
// one of them before it is used; the start of the component then says so.
func freeBase() (int, error) {
	for range 200 {
		base := firstFreeBase + 10*rand.IntN((lastFreeBase-firstFreeBase)/10)
		if free(base) {
			return base, nil
		}
	}
	return 0, errors.New("no free run of ports found in 200 tries")
}

func free(base int) bool {
	for port := base; port < base+ports; port++ {
		if checkPort("free", port) != nil {
			return false
		}
	}
	return true
}
