package chaos

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// mood is what a proxy does to its connections.
type mood int

const (
	carry mood = iota
	cut        // they are reset, and new ones as soon as they come
	hold       // nothing arrives, in either direction: half-open
	deaf       // what the program says arrives, what it is answered does not
	lag        // everything arrives late
)

func (m mood) String() string { return [...]string{"carry", "cut", "hold", "deaf", "lag"}[m] }

const lagBy = 300 * time.Millisecond

// proxy carries one program's connections to one server, and breaks them when it
// is told to.
type proxy struct {
	addr    string
	targets func() []string // the first that answers is taken
	stamps  *rig.Stamped

	mu      sync.Mutex
	mood    mood
	changed chan struct{} // closed when the mood changes
	conns   map[net.Conn]struct{}
	closed  bool
	work    sync.WaitGroup
}

func newProxy(t *testing.T, addr string, targets func() []string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), targets: targets, stamps: &rig.Stamped{Listener: l}, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.work.Go(p.serve)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = l.Close()
		p.set(cut)
		p.work.Wait()
	})
	return p
}

// set changes the mood.
func (p *proxy) set(m mood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = m
	close(p.changed)
	p.changed = make(chan struct{})
	if m == cut {
		for c := range p.conns {
			reset(c)
		}
	}
}

// reset drops a connection with a TCP RST.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (p *proxy) serve() {
	for {
		c, err := p.stamps.Accept()
		if err != nil {
			return
		}
		if !p.add(c) {
			continue
		}
		p.work.Go(func() { p.connect(c) })
	}
}

// add notes a connection, unless it is refused.
func (p *proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.mood == cut {
		reset(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	reset(c)
}

func (p *proxy) connect(c net.Conn) {
	defer p.drop(c)
	for _, target := range p.targets() {
		s, err := net.DialTimeout("tcp", target, time.Second)
		if err != nil {
			continue
		}
		if !p.add(s) {
			return
		}
		defer p.drop(s)
		p.work.Go(func() { p.pump(c, s, false); p.drop(c); p.drop(s) })
		p.pump(s, c, true)
		return
	}
}

// pump carries one direction until either end is gone.
func (p *proxy) pump(to, from net.Conn, asked bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass(asked) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until bytes may go on; false if they never may.
func (p *proxy) pass(asked bool) bool {
	for late := false; ; {
		p.mu.Lock()
		m, changed, closed := p.mood, p.changed, p.closed
		p.mu.Unlock()
		switch {
		case closed || m == cut:
			return false
		case m == lag && !late:
			select {
			case <-time.After(lagBy):
				late = true
			case <-changed:
			}
		case m == hold, m == deaf && !asked:
			<-changed
		default:
			return true
		}
	}
}
