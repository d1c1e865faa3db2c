package rig

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/simulator"
)

// Host serves simulated gateways inside the test program, at the cluster's address
// for them, until the test ends: their ledger can be read without asking, and
// it is known when their requests arrived.
func (c *Cluster) Host(t testing.TB, o simulator.Options) *simulator.Simulator {
	t.Helper()
	hook := "http://" + c.Reports
	if c.Public != "" {
		hook = "http://" + c.Public
	}
	o.Callbacks = map[string]string{
		simulator.BulkSMSRates:  hook + "/dlr/bulksmsrates-main/" + CallbackToken,
		simulator.SMSBox:        hook + "/dlr/smsbox-main/" + CallbackToken,
		simulator.SMSBoxInbound: hook + "/inbound/smsbox-main/" + CallbackToken,
	}
	sim := simulator.New(o)
	l, err := net.Listen("tcp", c.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	c.Sim.arrived = &Stamped{Listener: l}
	s := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: time.Minute}
	ctx, stop := context.WithCancel(context.Background())
	served, reported := make(chan struct{}), make(chan struct{})
	go func() { defer close(served); _ = s.Serve(c.Sim.arrived) }()
	go func() { defer close(reported); _ = sim.Run(ctx) }()
	t.Cleanup(func() { stop(); _ = s.Close(); <-served; <-reported })
	return sim
}
