package bus

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
	// Prefetch bounds how many messages this process holds unread. Default 500.
	Prefetch int
	// PrefetchBytes bounds what one request brings; two may be under way. A message
	// that is larger comes alone. Default 16 MiB.
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
	Epoch     int64     // of the stream when it was read; 0 from a Tail
	Time      time.Time // when it was stored
	Delivered uint64    // 1 is no proof that it was never handed out before
	Pending   uint64    // how many more matched when this one left
	reply     string    // where the server hears what became of it
	nc        *nats.Conn
}

// Place names where the message lies, for the ids of what follows from it: in
// this stream, not in one of its name that there was before.
func (m *Msg) Place() string {
	return m.Stream + "-" + strconv.FormatInt(m.Epoch, 36) + "-" + strconv.FormatUint(m.Seq, 36)
}

// Get returns the first value of a header, or "".
func (m *Msg) Get(key string) string {
	if v := m.Header[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// GetFold is Get for a header that a client set: libraries that write HTTP's
// headers spell names their own way (Traceparent), which a client cannot help.
func (m *Msg) GetFold(key string) string {
	if v := m.Get(key); v != "" {
		return v
	}
	for k, v := range m.Header {
		if len(v) > 0 && strings.EqualFold(k, key) {
			return v[0]
		}
	}
	return ""
}

// Ack settles the message. It is sent, not confirmed: a lost ack brings the
// message again.
func (m *Msg) Ack() error { return m.answer("+ACK") }

// Nak gives the message back for another try after delay. It stays in the
// count of pending messages until then, so delays must be short.
func (m *Msg) Nak(delay time.Duration) error {
	if delay <= 0 {
		return m.answer(notNow)
	}
	return m.answer(`-NAK {"delay":` + strconv.FormatInt(delay.Nanoseconds(), 10) + "}")
}

// What the server hears of a message.
const (
	inProgress = "+WPI"
	notNow     = "-NAK"
)

// InProgress starts AckWait anew.
func (m *Msg) InProgress() error { return m.answer(inProgress) }

// Term settles a message that can never be processed. The caller has put it
// into the dead-letter stream before.
func (m *Msg) Term(reason string) error { return m.answer("+TERM " + reason) }

func (m *Msg) answer(what string) error { return m.nc.Publish(m.reply, []byte(what)) }

// received makes a Msg of what the server handed out. reply tells where the
// message is from.
func (b *Bus) received(subject string, h Header, data []byte, reply string) *Msg {
	m := &Msg{Subject: subject, Header: h, Data: unpacked(subject, h, data), reply: reply, nc: b.nc}
	m.place(reply)
	return m
}

// place reads a reply subject: $JS.ACK, perhaps domain and account, then stream,
// consumer, deliveries, the stream's sequence, the consumer's, time and pending.
func (m *Msg) place(reply string) {
	var tokens [12]string
	n := 0
	for token := range strings.SplitSeq(reply, ".") {
		if n < len(tokens) {
			tokens[n] = token
		}
		n++
	}
	from := 2
	switch {
	case n >= 11:
		from = 4
	case n != 9:
		return
	}
	number := func(i int) uint64 {
		v, _ := strconv.ParseUint(tokens[from+i], 10, 64) // the server's own
		return v
	}
	m.Stream, m.Delivered, m.Seq, m.Pending = tokens[from], number(2), number(3), number(6)
	m.Time = time.Unix(0, int64(number(5)))
}

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
