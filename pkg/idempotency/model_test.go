package idempotency

import "slices"

// model is the fold as one would write it first: one entry a message, one
// message after the other. It keeps everything for ever.
type model struct {
	last     uint64
	messages map[Key]*message
	intents  map[uint64]*modelIntent
	paused   map[string]bool
	sender   map[string]string
	current  map[string]Record
}

type message struct {
	state    State
	by       uint64
	released bool
	reason   string

	won, freed, releases int // how often, in its life
}

type modelIntent struct {
	account string
	keys    []Key
}

func newModel() *model {
	return &model{
		messages: map[Key]*message{}, intents: map[uint64]*modelIntent{},
		paused: map[string]bool{}, sender: map[string]string{}, current: map[string]Record{},
	}
}

func keysOf(spans []Span) (keys []Key) {
	for _, s := range spans {
		for i := range s.Len() {
			keys = append(keys, s.Key(i))
		}
	}
	return keys
}

func (m *model) at(k Key) *message {
	if m.messages[k] == nil {
		m.messages[k] = &message{}
	}
	return m.messages[k]
}

func (m *model) holds(seq uint64, state State) (n int) {
	for _, x := range m.messages {
		if x.by == seq && x.state == state {
			n++
		}
	}
	return n
}

// apply returns the keys that a supersede record closed beside the effect.
func (m *model) apply(seq uint64, r Record) (e Effect, closed []Key) {
	if seq <= m.last {
		return e, nil
	}
	m.last = seq
	lost := func(i int) { e.Lost = append(e.Lost, uint32(i)) }
	free := func(i int, x *message) {
		x.state, x.by = Free, 0
		if x.reason != "" {
			e.Freed, e.Reasons = append(e.Freed, uint32(i)), append(e.Reasons, x.reason)
			x.state, x.reason, x.released = Closed, "", false
		}
	}
	shut := func(x *message, reason string) bool {
		switch {
		case x.state == Free && !(reason == "expired" && x.released), x.state == Unsettled && reason == "reported":
			*x = message{state: Closed, won: x.won, freed: x.freed, releases: x.releases}
			return true
		case x.state != Closed && x.reason == "" && reason != "expired":
			x.reason = reason
		}
		return false
	}
	switch r.Kind {
	case Intent:
		m.intents[seq] = &modelIntent{r.Account, keysOf(r.Spans)}
		for i, k := range m.intents[seq].keys {
			if x := m.at(k); x.state == Free && !m.paused[r.Account] && (m.sender[r.Account] == "" || m.sender[r.Account] == r.Owner) {
				x.state, x.by = Taken, seq
				x.won++
				e.Acted++
			} else {
				lost(i)
			}
		}
	case Outcome:
		in := m.intents[r.Intent]
		if in == nil || m.holds(r.Intent, Taken)+m.holds(r.Intent, Unsettled) == 0 {
			return e, nil
		}
		var says []State
		for _, run := range r.Runs {
			says = append(says, slices.Repeat([]State{run.To}, int(run.N))...)
		}
		for i, k := range in.keys {
			x := m.at(k)
			switch mine := i < len(says) && x.by == r.Intent && says[i] <= Closed && says[i] != Taken; {
			case mine && says[i] == Closed:
				*x = message{state: Closed, won: x.won, freed: x.freed, releases: x.releases}
				e.Acted++
			case mine && x.state == Taken && says[i] == Free:
				x.freed++
				e.Acted++
				free(i, x)
			case mine && x.state == Taken && says[i] == Unsettled:
				x.state = Unsettled
				e.Acted++
			default:
				lost(i)
			}
		}
	case Close:
		for i, k := range keysOf(r.Spans) {
			if shut(m.at(k), r.Reason) {
				e.Acted++
			} else {
				lost(i)
			}
		}
	case Release:
		for i, k := range keysOf(r.Spans) {
			x := m.at(k)
			if x.state != Unsettled || x.by != r.Intent || r.Intent == 0 || x.released {
				lost(i)
				continue
			}
			x.releases++
			x.released = true
			e.Acted++
			free(i, x)
		}
	case Supersede:
		loser, ok := m.current[r.SupersedeKey]
		switch {
		case !ok:
			m.current[r.SupersedeKey] = r
			return e, nil
		case loser.ID == r.ID:
			return e, nil
		case r.At > loser.At || r.At == loser.At && r.ID > loser.ID:
			m.current[r.SupersedeKey] = r
		default:
			loser = r
		}
		for _, k := range keysOf(loser.Spans) {
			if shut(m.at(k), "superseded") {
				e.Acted++
				e.SupersededID = loser.ID
				closed = append(closed, k)
			}
		}
	case Mode:
		m.paused[r.Account] = r.Paused
	case Sender:
		if m.sender[r.Account] == r.Was {
			m.sender[r.Account] = r.Sender
			e.Acted++
		}
	}
	return e, closed
}
