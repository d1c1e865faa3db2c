package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consumer describes a durable consumer. All processes that use the same Name
// share its messages.
type Consumer struct {
	Stream  string
	Name    string
	Filters []string
	AckWait time.Duration // default 30 s
	// MaxPending is how many messages may be handed out and not settled, over
	// all processes. Default 10,000.
	MaxPending int
	// Prefetch bounds what this process holds unread. Default 500 messages; the
	// byte bound wins when set.
	Prefetch      int
	PrefetchBytes int
}

// Msg is one message as handed out. It must be settled once, by Ack, Nak or
// Term, unless it came from a Tail or a Get.
type Msg struct {
	Subject   string
	Header    Header
	Data      []byte
	Stream    string
	Seq       uint64
	Epoch     int64     // of the stream when a Puller read it; else 0
	Time      time.Time // when it was stored
	Delivered uint64    // 1 is no proof that it was never handed out before
	Pending   uint64    // how many more matched when this one left
	raw       jetstream.Msg
}

// Get returns the first value of a header, or "".
func (m *Msg) Get(key string) string {
	if v := m.Header[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Ack settles the message. It is sent, not confirmed: a lost ack brings the
// message again.
func (m *Msg) Ack() error { return m.raw.Ack() }

// Nak gives the message back for another try after delay. It stays in the
// count of pending messages until then, so delays must be short.
func (m *Msg) Nak(delay time.Duration) error { return m.raw.NakWithDelay(delay) }

// InProgress starts AckWait anew.
func (m *Msg) InProgress() error { return m.raw.InProgress() }

// Term settles a message that can never be processed. The caller has put it
// into the dead-letter stream before.
func (m *Msg) Term(reason string) error { return m.raw.TermWithReason(reason) }

func received(raw jetstream.Msg) *Msg {
	m := &Msg{Subject: raw.Subject(), Header: Header(raw.Headers()), Data: unpacked(raw.Subject(), Header(raw.Headers()), raw.Data()), raw: raw}
	if md, err := raw.Metadata(); err == nil {
		m.Stream, m.Seq, m.Time = md.Stream, md.Sequence.Stream, md.Timestamp
		m.Delivered, m.Pending = md.NumDelivered, md.NumPending
	}
	return m
}

// Puller hands out a consumer's messages to one reader.
type Puller struct {
	b     *Bus
	spec  Consumer
	it    jetstream.MessagesContext
	epoch int64
}

// Pull makes the durable consumer if it is missing and starts reading. A
// consumer deleted while it is read is made again.
func (b *Bus) Pull(ctx context.Context, c Consumer) (*Puller, error) {
	p := &Puller{b: b, spec: c}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Puller) open(ctx context.Context) error {
	c := p.spec
	cfg := jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubjects: c.Filters, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
		AckWait: or(c.AckWait, 30*time.Second), MaxAckPending: or(c.MaxPending, 10_000), DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	// A consumer that has to be opened anew may be that of a stream made anew.
	s, err := p.b.fetch(ctx, c.Stream)
	if err != nil {
		return err
	}
	p.epoch = s.CachedInfo().Created.UnixNano()
	cons, err := s.CreateOrUpdateConsumer(ctx, cfg)
	if err != nil {
		return typed("consumer "+c.Name, err)
	}
	limit := jetstream.PullMessagesOpt(jetstream.PullMaxMessages(or(c.Prefetch, 500)))
	if c.PrefetchBytes > 0 {
		limit = jetstream.PullMaxMessagesWithBytesLimit(or(c.Prefetch, 500), c.PrefetchBytes)
	}
	p.it, err = cons.Messages(limit, jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return typed("consumer "+c.Name, err)
	}
	return nil
}

// Next blocks for the next message until ctx is done. Trouble with the server
// is waited out. It must not be called by two goroutines at once.
func (p *Puller) Next(ctx context.Context) (*Msg, error) {
	for {
		raw, err := p.it.Next(jetstream.NextContext(ctx))
		if err == nil {
			m := received(raw)
			m.Epoch = p.epoch
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) || errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			p.it.Stop()
			if err := p.open(ctx); err == nil {
				continue
			}
		}
		p.b.log.Warn("consumer interrupted", "stream", p.spec.Stream, "consumer", p.spec.Name, "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Stop ends reading and gives back what was prefetched and not read, to whoever
// reads on. Where the server cannot be told, it comes again after AckWait. Stop
// may take a second.
func (p *Puller) Stop() {
	p.it.Drain()
	for {
		raw, err := p.it.Next(jetstream.NextMaxWait(stopWithin))
		if err != nil {
			break
		}
		_ = raw.Nak() // at worst it comes later
	}
	p.it.Stop()
}

// stopWithin bounds the wait for what the server had sent before it heard that
// nobody reads any more.
const stopWithin = time.Second

// Consume hands every message of the consumer to handle, one after the other,
// until ctx is done. handle settles the message.
func (b *Bus) Consume(ctx context.Context, c Consumer, handle func(context.Context, *Msg)) error {
	p, err := b.Pull(ctx, c)
	if err != nil {
		return err
	}
	defer p.Stop()
	for {
		m, err := p.Next(ctx)
		if err != nil {
			return err
		}
		handle(ctx, m)
	}
}

// Progress is how far a consumer has come.
type Progress struct {
	Waiting   uint64 // messages that nobody has taken yet
	Unsettled int    // handed out and not settled
	Floor     uint64 // the sequence up to which everything that it covers is settled
}

// Progress asks the server how far a consumer has come. ErrNotFound: there is
// none of that name.
func (b *Bus) Progress(ctx context.Context, stream, consumer string) (Progress, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return Progress{}, err
	}
	c, err := s.Consumer(ctx, consumer)
	if err != nil {
		return Progress{}, typed("consumer "+consumer, err)
	}
	info := c.CachedInfo()
	return Progress{info.NumPending, info.NumAckPending, info.AckFloor.Stream}, nil
}

// Backlog returns how many messages of the consumer nobody has taken yet, and
// how many are handed out and not settled.
func (b *Bus) Backlog(ctx context.Context, stream, consumer string) (waiting uint64, unsettled int, err error) {
	p, err := b.Progress(ctx, stream, consumer)
	return p.Waiting, p.Unsettled, err
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// DeleteConsumer removes a durable consumer and what it remembers: everything
// that the stream keeps is handed out again.
func (b *Bus) DeleteConsumer(ctx context.Context, stream, consumer string) error {
	if err := b.js.DeleteConsumer(ctx, stream, consumer); err != nil {
		return typed("delete consumer "+consumer, err)
	}
	return nil
}

// Floor returns the sequence up to which everything that the consumer covers is
// settled.
func (b *Bus) Floor(ctx context.Context, stream, consumer string) (uint64, error) {
	p, err := b.Progress(ctx, stream, consumer)
	return p.Floor, err
}
