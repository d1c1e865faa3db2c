package bulksmsrates

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// fields are objects of an answer whose shape the document does not show. A field
// is looked for in each of them, in order, under each of the names that it might
// have.
type fields []map[string]any

// read reads a document that is an object.
func read(body []byte) (fields, error) {
	body = httpapi.Document(body)
	var top map[string]any
	in := json.NewDecoder(bytes.NewReader(body))
	in.UseNumber() // an id may be longer than a float64 holds
	if !json.Valid(body) || in.Decode(&top) != nil || top == nil {
		return nil, httpapi.ErrUnreadable
	}
	return fields{top}, nil
}

// pagination is what a page says of the others.
type pagination struct {
	total  int    // -1: not told
	cursor string // of the next page; empty: there is none
}

// readList reads a page of a list, as "Pagination" shows it. One object in its place
// is a list of one if it has the field that all of its kind have.
func readList(body []byte, mark string) (list []fields, rest pagination, err error) {
	var a struct {
		Data       json.RawMessage `json:"data"`
		Pagination struct {
			Total  httpapi.Words `json:"total"`
			More   httpapi.Truth `json:"has_more"`
			Cursor httpapi.Words `json:"cursor"`
		} `json:"pagination"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, rest, httpapi.ErrUnreadable
	}
	objects, array, err := httpapi.Objects(a.Data)
	if err != nil {
		return nil, rest, err
	}
	for _, raw := range objects {
		f, err := read(raw)
		if err != nil || !array && f.first(mark) == "" {
			return nil, rest, httpapi.ErrUnreadable
		}
		list = append(list, f)
	}
	if rest.total, err = strconv.Atoi(string(a.Pagination.Total)); err != nil {
		rest.total = -1
	}
	if a.Pagination.More.True {
		rest.cursor = string(a.Pagination.Cursor)
	}
	return list, rest, nil
}

// within puts the objects called name before those that hold them.
func (f fields) within(name string) fields {
	out := f
	for i := len(f) - 1; i >= 0; i-- {
		if inner, ok := f[i][name].(map[string]any); ok {
			out = append(fields{inner}, out...)
		}
	}
	return out
}

// value returns the first that is there and is not null.
func (f fields) value(names ...string) any {
	for _, m := range f {
		for _, name := range names {
			if v := m[name]; v != nil {
				return v
			}
		}
	}
	return nil
}

// objects returns the objects of an array, or one that stands in its place.
func (f fields) objects(name string) (out []fields) {
	v := f.value(name)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, v := range list {
		if object, ok := v.(map[string]any); ok {
			out = append(out, fields{object})
		}
	}
	return out
}

// first returns the first that is there, as text; objects and arrays are none.
func (f fields) first(names ...string) string {
	for _, m := range f {
		for _, name := range names {
			if s := scalar(m[name]); s != "" {
				return s
			}
		}
	}
	return ""
}

// id is first, cut as ids are.
func (f fields) id(names ...string) string { return httpapi.ID(f.first(names...)) }

// count returns the first that is there, as a whole number; -1: none.
func (f fields) count(names ...string) int {
	n, err := strconv.Atoi(f.first(names...))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
