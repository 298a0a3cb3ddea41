package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/openloop/openloop/guidellm"
)

// parseJSON reads one JSON value; objects keep the order of their keys.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := nextJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func nextJSON(d *json.Decoder, depth int) (any, error) {
	if depth > mostDepth { // Token, unlike Decode, has no limit
		return nil, errDepth
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			return restOfArray(d, depth+1)
		}
		return restOfObject(d, depth+1)
	}
	return t, nil
}

func restOfArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := nextJSON(d, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func restOfObject(d *json.Decoder, depth int) (any, error) {
	object := guidellm.Object{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := nextJSON(d, depth)
		if err != nil {
			return nil, err
		}
		object = append(object, guidellm.Member{Key: key.(string), Value: v})
	}
	_, err := d.Token()
	return object, err
}

// appendJSON writes a value as JSON, an object's keys in their order.
func appendJSON(b []byte, value any) ([]byte, error) {
	var err error
	switch v := value.(type) {
	case guidellm.Object:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, m.Key); err != nil {
				return b, err
			}
			if b, err = appendJSON(append(b, ':'), m.Value); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, item); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
	text, err := json.Marshal(value)
	return append(b, text...), err
}
