package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The rivals are what a capable programmer writes in an afternoon: as fast as
// the libraries let them, with an explicit ack and no other promise.

// job is what a naive worker reads of a queued message.
type job struct {
	From     string `json:"from"`
	Text     string `json:"text"`
	Messages []struct {
		To string `json:"to"`
	} `json:"messages"`
}

type smsRequest struct {
	Sender  string `json:"sender"`
	Message string `json:"message"`
	Phone   string `json:"phone"`
}

// open connects and makes the rival's consumer, named like the rival.
func (s *stage) open(ctx context.Context) (jetstream.Consumer, func(), error) {
	nc, js, err := connect(s.order.NATS)
	if err != nil {
		return nil, nil, err
	}
	c, err := js.CreateOrUpdateConsumer(ctx, s.order.Stream, jetstream.ConsumerConfig{
		Durable: s.name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 100_000,
	})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return c, nc.Close, nil
}

func connect(addr string, o ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc, o...)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// rawConsume takes and acks, and does nothing else: the limit of what the bus allows.
func rawConsume(ctx context.Context, s *stage) error {
	c, closeAll, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	reading, err := c.Consume(func(m jetstream.Msg) { _ = m.Ack() }, jetstream.PullMaxMessages(5000))
	if err != nil {
		return err
	}
	defer reading.Stop()
	s.end()
	return nil
}

// poster POSTs to the gateway.
type poster struct {
	client *http.Client
	url    string
}

func newPoster(s *stage) *poster {
	return &poster{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, "http://" + s.order.Target + s.order.Path}
}

func (p *poster) post(ctx context.Context, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return nil
}

// naive sends each message by a request of its own, 64 at once.
func naive(ctx context.Context, s *stage) error {
	c, closeAll, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	p := newPoster(s)
	jobs := make(chan jetstream.Msg, 64)
	for range 64 {
		go func() { // ends with the process
			for m := range jobs {
				var j job
				if json.Unmarshal(m.Data(), &j) != nil || len(j.Messages) == 0 {
					continue
				}
				if p.post(ctx, smsRequest{j.From, j.Text, j.Messages[0].To}) == nil {
					_ = m.Ack()
				}
			}
		}()
	}
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	reading, err := c.Consume(func(m jetstream.Msg) { jobs <- m }, jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	defer reading.Stop()
	s.end()
	return nil
}

// naiveBatch fetches 100 and sends them as one request, 4 at once.
func naiveBatch(ctx context.Context, s *stage) error {
	c, closeAll, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	p := newPoster(s)
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				_ = p.fetchOnce(ctx, c) // what failed comes again
			}
		})
	}
	s.end()
	stop()
	workers.Wait()
	return nil
}

func (p *poster) fetchOnce(ctx context.Context, c jetstream.Consumer) error {
	got, err := c.Fetch(100, jetstream.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	var msgs []jetstream.Msg
	var items []smsRequest
	for m := range got.Messages() {
		var j job
		if json.Unmarshal(m.Data(), &j) != nil {
			continue
		}
		for i := range j.Messages {
			items = append(items, smsRequest{j.From, j.Text, j.Messages[i].To})
		}
		msgs = append(msgs, m)
	}
	if len(msgs) == 0 {
		return got.Error()
	}
	if err := p.post(ctx, items); err != nil {
		return err
	}
	for _, m := range msgs {
		if err := m.Ack(); err != nil {
			return err
		}
	}
	return nil
}

// pending is how many publishes the rivals have under way.
const pending = 4096

func acked(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rawPublish stores envelopes as fast as the client allows, waiting for every ack.
func rawPublish(ctx context.Context, s *stage) error {
	nc, js, err := connect(s.order.NATS, jetstream.WithPublishAsyncMaxPending(2*pending))
	if err != nil {
		return err
	}
	defer nc.Close()
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	began := time.Now()
	futures := make([]jetstream.PubAckFuture, 0, s.order.N)
	for i := range s.order.N {
		f, err := js.PublishAsync(s.order.Subject, appendEnvelope(nil, s.order.Seed, i), jetstream.WithMsgID(envelopeID(s.order.Seed, i)))
		if err != nil {
			return err
		}
		if futures = append(futures, f); i >= pending { // the client itself would give up on a slow server
			if err := acked(ctx, futures[i-pending]); err != nil {
				return err
			}
		}
	}
	for _, f := range futures[max(0, len(futures)-pending):] {
		if err := acked(ctx, f); err != nil {
			return err
		}
	}
	return s.tell(result{Seconds: time.Since(began).Seconds()})
}

// bareHandler stores every body and answers once that is acknowledged.
func bareHandler(ctx context.Context, s *stage) error {
	nc, js, err := connect(s.order.NATS, jetstream.WithPublishAsyncMaxPending(2*pending))
	if err != nil {
		return err
	}
	defer nc.Close()
	ids := make(chan string, 64)
	go func() { // ends with the process
		for i := 0; ; i++ {
			ids <- "bare" + strconv.Itoa(i)
		}
	}()
	return serve(ctx, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := js.PublishAsync(s.order.Subject, body(r), jetstream.WithMsgID(<-ids))
		if err == nil {
			select {
			case <-f.Ok():
			case err = <-f.Err():
			case <-r.Context().Done():
				err = errors.New("gone")
			}
		}
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
}
