package simulator

import (
	"bytes"
	"encoding/json"
	"strings"
)

// loosened returns an answer as a server would write it that holds types less
// strictly than its document: numbers and booleans as strings and the other way
// round, one object for an array of one, fields that nobody documented, a mark of
// UTF-8, and a page's content type.
func (r reply) loosened() reply {
	in := json.NewDecoder(bytes.NewReader(r.body))
	in.UseNumber()
	var doc any
	if !json.Valid(r.body) || in.Decode(&doc) != nil {
		return r
	}
	doc = loose(doc)
	if top, ok := doc.(map[string]any); ok {
		top["debug"] = map[string]any{"took": []int{1, 2}}
	}
	body, err := json.Marshal(doc)
	if err != nil { // what was read can be written
		return r
	}
	r.body = append(append([]byte("\ufeff"), body...), "\r\n"...)
	return r.with("Content-Type", "text/html; charset=utf-8")
}

func loose(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = loose(v[name])
		}
	case []any:
		for i := range v {
			v[i] = loose(v[i])
		}
		if len(v) == 1 {
			if one, ok := v[0].(map[string]any); ok {
				return one
			}
		}
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	case string:
		if 0 < len(v) && len(v) <= 15 && v[0] != '0' && strings.Trim(v, "0123456789") == "" {
			return json.Number(v)
		}
	}
	return v
}
