package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Puller hands out a consumer's messages to one reader.
//
// It makes the requests itself. The client library's reader keeps messages and
// the server's remarks about requests in one buffer, which has room for the
// messages alone; there is a remark for every request with a byte bound, and
// what found no room came again after AckWait. How far it reads ahead could not
// be changed either.
type Puller struct {
	b       *Bus
	spec    Consumer
	epoch   int64
	sub     *nats.Subscription
	in      chan *nats.Msg
	up      chan nats.Status
	silence *time.Timer
	unread  []*nats.Msg // taken out of in by Keep
	ahead   int         // how many messages may be under way and unread
	asked   int         // how many are, as far as is known
}

const (
	requestFor = 30 * time.Second // the server forgets a request after this
	heartbeat  = 5 * time.Second  // of a request that waits at the server
	restFor    = 250 * time.Millisecond
	stopWithin = time.Second // bounds the wait for what the server had sent before it heard that nobody reads any more
)

// Pull makes the durable consumer if it is missing and starts reading. A
// consumer deleted while it is read is made again.
func (b *Bus) Pull(ctx context.Context, c Consumer) (*Puller, error) {
	c.Prefetch = or(c.Prefetch, 500)
	// A request that was given up may still be answered: there is room for one.
	p := &Puller{b: b, spec: c, ahead: c.Prefetch, in: make(chan *nats.Msg, 2*c.Prefetch+64), silence: time.NewTimer(2 * heartbeat)}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	var err error
	if p.sub, err = b.nc.ChanSubscribe(b.nc.NewInbox(), p.in); err != nil {
		return nil, typed("consumer "+c.Name, err)
	}
	p.up = b.nc.StatusChanged(nats.CONNECTED)
	return p, nil
}

func (p *Puller) open(ctx context.Context) error {
	c := p.spec
	cfg := jetstream.ConsumerConfig{
		Durable: c.Name, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
		AckWait: or(c.AckWait, 30*time.Second), MaxAckPending: or(c.MaxPending, 10_000), DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if len(c.Filters) == 1 { // then the request names the filter, and a server can permit this one alone
		cfg.FilterSubject = c.Filters[0]
	} else {
		cfg.FilterSubjects = c.Filters
	}
	// A consumer that has to be opened anew may be that of a stream made anew.
	s, err := p.b.fetch(ctx, c.Stream)
	if err != nil {
		return err
	}
	p.epoch = s.CachedInfo().Created.UnixNano()
	_, err = s.CreateOrUpdateConsumer(ctx, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return p.remake(ctx, s, cfg, err)
	}
	if err != nil {
		return typed("consumer "+c.Name, err)
	}
	return nil
}

// Ahead sets how many messages may be held unread from now on, 1 to Prefetch. It
// belongs to the goroutine that calls Next.
func (p *Puller) Ahead(n int) { p.ahead = max(1, min(n, p.spec.Prefetch)) }

// Keep starts AckWait anew for what has come and was not read yet: for a reader that
// has no room for more just now. It belongs to the goroutine that calls Next.
func (p *Puller) Keep() { p.answerUnread(inProgress) }

// answerUnread says the same of everything that has come and was not read. What the
// server cannot be told of comes again, sooner or later.
func (p *Puller) answerUnread(what string) {
	for len(p.in) > 0 {
		p.unread = append(p.unread, <-p.in)
	}
	for _, m := range p.unread {
		if m.Reply != "" { // messages have one
			_ = p.b.nc.Publish(m.Reply, []byte(what))
		}
	}
}

// Next blocks for the next message until ctx is done. Trouble with the server
// is waited out. It must not be called by two goroutines at once.
func (p *Puller) Next(ctx context.Context) (*Msg, error) {
	for ctx.Err() == nil {
		if p.asked <= p.ahead-(p.ahead+3)/4 { // a request is there before what the last one brought is read
			if err := p.ask(p.ahead - p.asked); err != nil {
				p.rest(ctx, err)
				continue
			}
		}
		m := p.read(ctx)
		switch {
		case m == nil:
		case m.Reply == "": // messages have one
			p.remark(ctx, m)
		default:
			p.asked--
			out := p.b.received(m.Subject, Header(m.Header), m.Data, m.Reply)
			out.Epoch = p.epoch
			return out, nil
		}
	}
	return nil, ctx.Err()
}

// ask sends a request for n more messages.
func (p *Puller) ask(n int) error {
	most := max(or(p.spec.PrefetchBytes, 16<<20), int(p.b.MaxPayload())+64<<10) // below one message's size nothing would come
	req := append(make([]byte, 0, 128), `{"expires":`...)
	req = strconv.AppendInt(req, int64(requestFor), 10)
	req = strconv.AppendInt(append(req, `,"idle_heartbeat":`...), int64(heartbeat), 10)
	req = strconv.AppendInt(append(req, `,"batch":`...), int64(n), 10)
	req = strconv.AppendInt(append(req, `,"max_bytes":`...), int64(most), 10)
	if err := p.b.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.spec.Stream+"."+p.spec.Name, p.sub.Subject, append(req, '}')); err != nil {
		return err
	}
	p.asked += n
	return nil
}

// read returns what comes next; nil: nothing came, and what was asked for may
// have to be asked for again.
func (p *Puller) read(ctx context.Context) *nats.Msg {
	if len(p.unread) > 0 {
		m := p.unread[0]
		p.unread = p.unread[1:]
		return m
	}
	select {
	case m := <-p.in:
		return m
	default:
	}
	p.silence.Reset(2 * heartbeat)
	defer p.silence.Stop()
	select {
	case m := <-p.in:
		return m
	case <-p.up: // connected again: the server has forgotten the requests
		p.reopen(ctx)
	case <-p.silence.C:
		p.b.log.Warn("consumer silent", "stream", p.spec.Stream, "consumer", p.spec.Name)
		p.reopen(ctx)
	case <-ctx.Done():
	}
	return nil
}

// remark deals with what the server says about a request: that it waits, that it
// is over, or that the consumer is not there.
func (p *Puller) remark(ctx context.Context, m *nats.Msg) {
	if m.Header.Get("Status") == "100" {
		return
	}
	if left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages")); err == nil {
		p.asked = max(0, p.asked-left)
		return
	}
	p.rest(ctx, fmt.Errorf("%s %s", m.Header.Get("Status"), m.Header.Get("Description")))
	p.reopen(ctx)
}

// reopen looks at the stream again: it may be another by now, and others may have
// made the consumer anew.
func (p *Puller) reopen(ctx context.Context) {
	p.asked = 0
	if err := p.open(ctx); err != nil && ctx.Err() == nil {
		p.b.log.Warn("consumer not there", "stream", p.spec.Stream, "consumer", p.spec.Name, "error", err)
	}
}

// rest waits a little after trouble.
func (p *Puller) rest(ctx context.Context, why error) {
	if p.b.Connected() { // else that is said already, and this would be said four times a second for each consumer
		p.b.log.Warn("consumer interrupted", "stream", p.spec.Stream, "consumer", p.spec.Name, "error", why)
	}
	select {
	case <-ctx.Done():
	case <-time.After(restFor):
	}
}

// Stop ends reading and gives back what was asked for and not read, to whoever
// reads on. Where the server cannot be told, it comes again after AckWait. Stop
// may take a second.
func (p *Puller) Stop() {
	p.b.nc.RemoveStatusListener(p.up)
	p.silence.Stop()
	_ = p.sub.Drain()                   // what the server sent before it hears of it still comes in,
	_ = p.b.nc.FlushTimeout(stopWithin) // and is here by now
	p.answerUnread(notNow)
}
