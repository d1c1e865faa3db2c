package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What is sent. All envelopes have one text, as a campaign has.
const text = "Your parcel is on its way and arrives tomorrow between 8 and 12. Reply 1 to change."

func envelopeID(seed uint64, i int) string {
	return fmt.Sprintf("01M7WGB2FQ%06d%010d", seed%1_000_000, i)
}

func phoneNumber(seed uint64, i int) int { return int((seed*1_000_003 + uint64(i)) % 100_000_000) }

// appendEnvelope writes the i-th envelope; all are of the same length.
func appendEnvelope(b []byte, seed uint64, i int) []byte {
	b = append(b, `{"to":"`...)
	b = append(b, phone(seed, i)...)
	return append(b, `","from":"ACME","text":"`+text+`"}`...)
}

func phone(seed uint64, i int) string {
	digits := strconv.Itoa(100_000_000 + phoneNumber(seed, i))
	return "+2547" + digits[1:]
}

// sendLines POSTs all envelopes as one NDJSON body over one connection.
func sendLines(ctx context.Context, s *stage) error {
	o := s.order
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Target)
	if err != nil {
		return err
	}
	defer conn.Close()
	line := len(appendEnvelope(nil, o.Seed, 0)) + 1
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	began := time.Now()
	w := bufio.NewWriterSize(conn, 256<<10)
	fmt.Fprintf(w, "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", o.Path, o.Key, line*o.N)
	var buf []byte
	for i := range o.N {
		buf = append(appendEnvelope(buf[:0], o.Seed, i), '\n')
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	status, err := readAnswer(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	return s.tell(result{Seconds: time.Since(began).Seconds(), Status: map[int]int{status: o.N}})
}

// sendPosts POSTs single bodies over some connections, one after the other on
// each: envelopes, or reports on what a gateway was sent.
func sendPosts(ctx context.Context, s *stage) error {
	o := s.order
	requests, err := o.requests(ctx)
	if err != nil {
		return err
	}
	conns := make([]net.Conn, o.Connections)
	for i := range conns {
		if conns[i], err = (&net.Dialer{}).DialContext(ctx, "tcp", o.Target); err != nil {
			return err
		}
		defer conns[i].Close()
	}
	s.ready()
	if err := s.begin(); err != nil {
		return err
	}
	began := time.Now()
	var (
		next    atomic.Int64
		mu      sync.Mutex
		status  = map[int]int{}
		failure error
		running sync.WaitGroup
	)
	for _, c := range conns {
		running.Go(func() {
			mine, err := post(c, &next, requests)
			mu.Lock()
			defer mu.Unlock()
			for code, n := range mine {
				status[code] += n
			}
			failure = errors.Join(failure, err)
		})
	}
	running.Wait()
	if failure != nil {
		return failure
	}
	return s.tell(result{Seconds: time.Since(began).Seconds(), Status: status})
}

func post(c net.Conn, next *atomic.Int64, requests [][]byte) (map[int]int, error) {
	status, r := map[int]int{}, bufio.NewReader(c)
	for {
		i := int(next.Add(1)) - 1
		if i >= len(requests) {
			return status, nil
		}
		if _, err := c.Write(requests[i]); err != nil {
			return status, err
		}
		code, err := readAnswer(r)
		if err != nil {
			return status, err
		}
		status[code]++
	}
}

// readAnswer reads an answer whose length is given, and returns its status.
func readAnswer(r *bufio.Reader) (status int, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		switch {
		case first:
			if len(line) < 12 {
				return 0, errors.New("no status line")
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) <= 2:
			_, err := r.Discard(length)
			return status, err
		case len(line) > 16 && strings.EqualFold(string(line[:15]), "content-length:"):
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[15:]))); err != nil {
				return 0, err
			}
		}
	}
}

// requests are the bytes of all requests: made before, so that sending is cheap.
func (o *order) requests(ctx context.Context) ([][]byte, error) {
	if o.Reports != "" {
		return o.reports(ctx)
	}
	out := make([][]byte, o.N)
	for i := range out {
		data := appendEnvelope(nil, o.Seed, i)
		out[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", o.Path, o.Key, len(data), data)
	}
	return out, nil
}

// reports are callbacks that say of everything the gateway was sent that it
// arrived, in another order than it was sent in: in any, or each somewhat later.
func (o *order) reports(ctx context.Context) ([][]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Reports+"/sent", nil)
	if err != nil {
		return nil, err
	}
	resp, err := caller().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out [][]byte
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return nil, fmt.Errorf("%d words on a line of the gateway", len(f))
		}
		_, path, _ := strings.Cut(strings.TrimPrefix(f[0], "http://"), "/")
		data := fmt.Appendf(nil, `{"phone":"%s","correlator":"%s","uniqueId":"u%d","deliveryStatus":"DeliveredToTerminal","deliveryTime":"2026-01-02 03:04:05"}`, f[2], f[1], len(out))
		out = append(out, fmt.Appendf(nil, "POST /%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(data), data))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(o.Seed, 0))
	if o.Spread == 0 {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out, nil
	}
	type late struct{ place, i int }
	order := make([]late, len(out))
	for i := range order {
		order[i] = late{i + r.IntN(o.Spread), i}
	}
	slices.SortFunc(order, func(a, b late) int { return a.place - b.place })
	ordered := make([][]byte, len(out))
	for at, l := range order {
		ordered[at] = out[l.i]
	}
	return ordered, nil
}
