package status

import (
	"maps"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"
)

// shard holds a part of the envelopes. Ids that Tuma gives are ULIDs: kept as 16
// bytes each instead of a string beside its 26 they take a quarter less of an
// envelope's memory, and the collector has nothing to follow.
type shard struct {
	mu     sync.Mutex
	byULID map[ulid.ULID]*entry
	byName map[string]*entry // ids that are none
}

// short returns the ULID that id spells. Lower case would be another spelling of
// it, so that is none.
func short(id string) (u ulid.ULID, ok bool) {
	for i := range len(id) {
		if id[i] >= 'a' {
			return u, false
		}
	}
	u, err := ulid.ParseStrict(id)
	return u, err == nil
}

// find returns an envelope, or nil. Callers of all methods hold mu.
func (sh *shard) find(id string) *entry {
	if u, ok := short(id); ok {
		return sh.byULID[u]
	}
	return sh.byName[id]
}

// entry returns an envelope, made if it is not there.
func (sh *shard) entry(id string, tenant uint16) (e *entry, isNew bool) {
	u, ok := short(id)
	if ok {
		e = sh.byULID[u]
	} else {
		e = sh.byName[id]
	}
	if e != nil {
		return e, false
	}
	e = newEntry(tenant)
	if ok {
		sh.byULID[u] = e
	} else {
		sh.byName[strings.Clone(id)] = e // the id may be part of a whole event's bytes
	}
	return e, true
}

// each visits all envelopes; id makes the id where it is needed.
func (sh *shard) each(visit func(id func() string, e *entry)) {
	for u, e := range sh.byULID {
		visit(u.String, e)
	}
	for name, e := range sh.byName {
		visit(func() string { return name }, e)
	}
}

// drop forgets the envelopes that gone says of.
func (sh *shard) drop(gone func(*entry) bool) {
	maps.DeleteFunc(sh.byULID, func(_ ulid.ULID, e *entry) bool { return gone(e) })
	maps.DeleteFunc(sh.byName, func(_ string, e *entry) bool { return gone(e) })
}
