package ingest

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What one tenant may have under way in one process. The bound is memory: a
// thousand small bodies, or sixteen that are large or do not say.
const (
	maxSmall = 1024
	maxLarge = 16
	small    = 1 << 20
)

// enter takes a place for a submission; leave gives it back.
func (in *Ingest) enter(r *http.Request, tenant string) (leave func(), err error) {
	kind, most := "large ", maxLarge
	if r.ContentLength >= 0 && r.ContentLength <= small {
		kind, most = "small ", maxSmall
	}
	leave, ok := in.open.enter(kind+tenant, most)
	if !ok {
		return nil, limited(time.Second)
	}
	return leave, nil
}

// counter counts what is under way, by name.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

// enter counts one more unless there are most already.
func (c *counter) enter(name string, most int) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[name] >= most {
		return nil, false
	}
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n[name]--
	}, true
}

// gate opens once in a while: trouble that every request meets is logged once,
// not a thousand times a second.
type gate struct{ last atomic.Int64 }

const complainEvery = 10 * time.Second

func (g *gate) open(now time.Time) bool {
	last := g.last.Load()
	return now.UnixNano()-last >= int64(complainEvery) && g.last.CompareAndSwap(last, now.UnixNano())
}
