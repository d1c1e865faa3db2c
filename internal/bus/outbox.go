package bus

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxPending   = 8192                   // publishes under way at once
	lookEvery    = 250 * time.Millisecond // for what is to be tried again, or has had its time
	noStreamMost = 2                      // tries after one that no stream answered: it may be choosing its leader
)

// outbox publishes messages and gathers their acks. It does what the client's
// asynchronous publishing does, for less than half: no timer, no reading of JSON by
// reflection and one channel for each message. At the rates at which single
// messages and callbacks come in that is a twentieth of their whole cost.
type outbox struct {
	nc     *nats.Conn
	prefix string        // of the subjects on which acks come
	room   chan struct{} // one for each message under way

	mu    sync.Mutex
	last  uint64
	open  map[uint64]*flight
	ended sync.WaitGroup // look
	stop  chan struct{}

	closing sync.Once
}

// flight is a message under way.
type flight struct {
	id    uint64
	msg   *nats.Msg
	at    time.Time
	tries int // that no stream answered; guarded by the outbox's mu, as is again
	again bool
	done  chan struct{} // closed once ack and err say what became of it
	ack   Ack
	err   error
}

// Pending is an asynchronous publish under way.
type Pending struct {
	box *outbox
	f   *flight
}

func newOutbox(nc *nats.Conn) (*outbox, error) {
	o := &outbox{
		nc: nc, prefix: nc.NewInbox() + ".", room: make(chan struct{}, maxPending), open: map[uint64]*flight{}, stop: make(chan struct{}),
	}
	sub, err := nc.Subscribe(o.prefix+"*", o.answered)
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // bounded by room
		return nil, err
	}
	o.ended.Go(o.look)
	return o, nil
}

// close gives up what is under way.
func (o *outbox) close() {
	o.closing.Do(func() { close(o.stop) })
	o.ended.Wait()
	o.fail(nats.ErrConnectionClosed, func(*flight) bool { return true })
}

// publish hands a message over, when there is room.
func (o *outbox) publish(m *nats.Msg) (Pending, error) {
	select {
	case o.room <- struct{}{}:
	default: // room comes as acks come: wait for it as long as for one
		t := time.NewTimer(publishTimeout)
		defer t.Stop()
		select {
		case o.room <- struct{}{}:
		case <-t.C:
			return Pending{}, jetstream.ErrTooManyStalledMsgs
		}
	}
	f := &flight{msg: m, at: time.Now(), done: make(chan struct{})}
	o.mu.Lock()
	o.last++
	f.id = o.last
	o.open[f.id] = f
	o.mu.Unlock()
	m.Reply = o.prefix + strconv.FormatUint(f.id, 36)
	if err := o.nc.PublishMsg(m); err != nil {
		o.land(f, Ack{}, err)
		return Pending{}, err
	}
	return Pending{o, f}, nil
}

// land ends a flight, unless somebody has.
func (o *outbox) land(f *flight, a Ack, err error) {
	o.mu.Lock()
	_, open := o.open[f.id]
	delete(o.open, f.id)
	o.mu.Unlock()
	if open {
		f.ack, f.err = a, err
		close(f.done)
		<-o.room
	}
}

// fail ends the flights that which says of.
func (o *outbox) fail(err error, which func(*flight) bool) {
	var those []*flight
	o.mu.Lock()
	for _, f := range o.open {
		if which(f) {
			those = append(those, f)
		}
	}
	o.mu.Unlock()
	for _, f := range those {
		o.land(f, Ack{}, err)
	}
}

// disconnected ends all flights: their acks went with the connection, or will.
func (o *outbox) disconnected() { o.fail(nats.ErrDisconnected, func(*flight) bool { return true }) }

// look ends the flights that have had their time, and tries those again that no
// stream has answered, until close.
func (o *outbox) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-o.stop:
			return
		case now := <-tick.C:
			o.fail(nats.ErrTimeout, func(f *flight) bool { return now.Sub(f.at) > publishTimeout })
			for _, f := range o.unanswered() {
				if err := o.nc.PublishMsg(f.msg); err != nil {
					o.land(f, Ack{}, err)
				}
			}
		}
	}
}

// unanswered are the flights to be tried again.
func (o *outbox) unanswered() (those []*flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.open {
		if f.again {
			f.again = false
			those = append(those, f)
		}
	}
	return those
}

// answered takes in an ack.
func (o *outbox) answered(m *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, o.prefix), 36, 64)
	if err != nil {
		return
	}
	noStream := len(m.Data) == 0 && m.Header.Get("Status") == "503"
	o.mu.Lock()
	f := o.open[id]
	if f != nil && noStream && f.tries < noStreamMost {
		f.tries++
		f.again = true
		f = nil
	}
	o.mu.Unlock()
	switch {
	case f == nil: // it came too late, or is tried again
	case noStream:
		o.land(f, Ack{}, jetstream.ErrNoStreamResponse)
	default:
		a, err := readAck(m.Data)
		o.land(f, a, err)
	}
}

// readAck reads an answer of JetStream: the form in which a server writes that a
// message was stored, or any.
func readAck(data []byte) (Ack, error) {
	if rest, ok := strings.CutPrefix(string(data), `{"stream":"`); ok {
		stream, rest, ok := strings.Cut(rest, `","seq":`)
		number, more, closed := strings.Cut(rest, "}")
		number, duplicate := strings.CutSuffix(number, `,"duplicate": true`)
		seq, err := strconv.ParseUint(number, 10, 64)
		if ok && closed && more == "" && err == nil && number[0] != '0' && !strings.ContainsFunc(stream, special) {
			return Ack{stream, seq, duplicate}, nil
		}
	}
	var r struct {
		Error     *jetstream.APIError `json:"error"`
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
	}
	switch err := json.Unmarshal(data, &r); {
	case err != nil || r.Error == nil && r.Stream == "":
		return Ack{}, jetstream.ErrInvalidJSAck
	case r.Error != nil:
		return Ack{}, r.Error
	}
	return Ack{r.Stream, r.Seq, r.Duplicate}, nil
}

// Wait blocks until the message is stored, refused, or ctx is done. The ack
// itself times out after some seconds, so Wait always ends.
func (p Pending) Wait(ctx context.Context) (Ack, error) {
	select {
	case <-p.f.done:
	case <-ctx.Done():
		return Ack{}, typed("publish", ctx.Err())
	}
	if p.f.err != nil {
		return Ack{}, typed("publish", p.f.err)
	}
	return p.f.ack, nil
}

// special reports whether a character of a stream's name could mean more than itself.
func special(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }
