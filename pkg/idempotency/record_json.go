package idempotency

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Detail is the last field of a record's JSON, and most of an outcome's bytes.
// The fold does not read it, so it is neither parsed nor copied piece by piece
// with the rest.
const detailKey = `,"d":`

// Append appends the JSON of r to b, as encoding/json writes it. Detail is taken
// as it is: it must be valid JSON.
func (r Record) Append(b []byte) ([]byte, error) {
	detail := r.Detail
	r.Detail = nil
	head, err := json.Marshal(&r)
	if err != nil {
		return b, fmt.Errorf("idempotency: record: %w", err)
	}
	if len(detail) == 0 {
		return append(b, head...), nil
	}
	b = append(b, head[:len(head)-1]...) // never empty: the kind is always there
	b = append(append(b, detailKey...), detail...)
	return append(b, '}'), nil
}

// DecodeRecord reads what Append or encoding/json wrote. It takes and refuses
// what encoding/json takes and refuses. Detail shares data's memory.
func DecodeRecord(data []byte, r *Record) error {
	*r = Record{}
	// Within a string the quotes of the key would be escaped, and nothing inside a
	// record has such a key: it is the record's own, if what follows is one value.
	if i := bytes.Index(data, []byte(detailKey)); i > 0 && data[len(data)-1] == '}' && len(bytes.TrimSpace(data[:i])) > 1 {
		detail := bytes.TrimSpace(data[i+len(detailKey) : len(data)-1])
		head := append(append(make([]byte, 0, i+1), data[:i]...), '}')
		if json.Valid(detail) && json.Unmarshal(head, r) == nil {
			r.Detail = detail
			return nil
		}
		*r = Record{}
	}
	return json.Unmarshal(data, r)
}
