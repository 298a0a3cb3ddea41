package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// defaultColumns are the names that GuideLLM 0.5.0 looks for, in its order; each also with s and es at the end and in
// lower, upper and capitalised case. "messages" is openloop's own addition.
var defaultColumns = map[string][]string{
	"prompt_tokens_count_column": {"prompt_tokens_count", "input_tokens_count"},
	"output_tokens_count_column": {"output_tokens_count", "completion_tokens_count"},
	"prefix_column":              {"system_prompt", "system", "prefix"},
	"text_column": {
		"prompt", "instruction", "question", "input", "context", "content", "conversation", "turn", "text", "message",
	},
}

// columnNames holds the variants of defaultColumns, worked out once.
var columnNames = func() map[string][]string {
	names := map[string][]string{}
	for kind, defaults := range defaultColumns {
		for _, name := range defaults {
			for _, ending := range []string{"", "s", "es"} {
				n := name + ending
				names[kind] = append(names[kind], n, strings.ToUpper(n), strings.ToUpper(n[:1])+n[1:])
			}
		}
	}
	return names
}()

// ErrNoPrompt means that a record has no prompt: its column has a name that is not known, or is empty.
var ErrNoPrompt = errors.New("it has no prompt")

// ParseColumns reads a mapping of columns for DataSpec.Columns: a JSON object from column types to a name or a list of
// names. An empty text is none.
func ParseColumns(text string) (map[string][]string, error) {
	const form = `want a JSON object such as {"text_column":"question"}`
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("%s, got %.80q: %s", form, text, jsonProblem(err))
	}
	if raw == nil {
		return nil, nil
	}
	columns := map[string][]string{}
	for kind, value := range raw {
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		for _, v := range list {
			name, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("%s is %v: it must be the name of a column, or a list of names", kind, value)
			}
			columns[kind] = append(columns[kind], name)
		}
	}
	return columns, checkColumns(columns)
}

func checkColumns(columns map[string][]string) error {
	for _, kind := range slices.Sorted(maps.Keys(columns)) {
		if _, ok := defaultColumns[kind]; !ok {
			return fmt.Errorf("%q is not a kind of column; there are text_column, prefix_column, "+
				"prompt_tokens_count_column and output_tokens_count_column", kind)
		}
	}
	return nil
}

// columns finds the columns of a kind: by default the first known name, with a mapping all that it names.
func (f *fileSource) columns(r record, kind string) ([]any, error) {
	if f.cfg.columns == nil {
		names := columnNames[kind]
		if kind == "output_tokens_count_column" && !f.cfg.guideLLM {
			names = slices.Concat(names, outputColumns)
		}
		for _, name := range names {
			if value, ok := r[name]; ok {
				f.use(name)
				return []any{value}, nil
			}
		}
		return nil, nil
	}
	var values []any
	for _, name := range f.cfg.columns[kind] {
		value, ok := r[name]
		if !ok { // GuideLLM writes the number of the data set before the name; here there is one
			name = strings.TrimPrefix(name, "0.")
			value, ok = r[name]
		}
		if !ok {
			has := strings.Join(slices.Sorted(maps.Keys(r)), ", ")
			return nil, fmt.Errorf("it has no column %q (%s); it has %s", name, kind, has)
		}
		f.use(name)
		values = append(values, value)
	}
	return values, nil
}

// use notes that a column of this record is used.
func (f *fileSource) use(name string) { f.used[name] = true }

// errSaved marks what is wrong with a saved workload: it is to be sent as it was, and nothing is left out of it.
var errSaved = errors.New("a saved workload")

type savedError struct{ error }

func (e savedError) Is(target error) bool { return target == errSaved }
func (e savedError) Unwrap() error        { return e.error }

// item makes an item of a record.
func (f *fileSource) item(r record) (Item, error) {
	if f.used == nil {
		f.used = map[string]bool{}
	}
	clear(f.used)
	if it, path, err := savedItem(r); path != "" || err != nil {
		if f.path == "" {
			f.path = path
		}
		if err == nil && path != f.path {
			err = fmt.Errorf("its path is %s, that of the records before is %s; one run sends to one path",
				path, f.path)
		}
		if err != nil {
			err = savedError{err}
		}
		return it, err
	}
	if !f.cfg.guideLLM {
		r = batchBody(r)
	}
	it, err := f.plainItem(r)
	if err == nil && f.found != nil {
		for name, value := range r {
			if !f.used[name] && !empty(value) {
				f.found.unused[name]++
			}
		}
	}
	return it, err
}

// plainItem makes an item of a record that is not one of a saved workload.
func (f *fileSource) plainItem(r record) (Item, error) {
	it := Item{}
	turns, err := f.turnsOf(r)
	if err != nil {
		return Item{}, err
	}
	if len(turns) > 0 {
		if !f.cfg.guideLLM {
			it.fields = f.ownFields(r, turns[0].of.OutputTokens > 0)
		}
		for i := range turns {
			turns[i].of.fields = it.fields
		}
		return f.askedItem(it, turns)
	}
	for kind, number := range map[string]*int{
		"prompt_tokens_count_column": &it.PromptTokens,
		"output_tokens_count_column": &it.OutputTokens,
	} {
		values, err := f.columns(r, kind)
		if err != nil {
			return Item{}, err
		}
		for _, value := range values {
			if empty(value) {
				continue
			}
			n, err := wholeNumber(value)
			if err != nil || n < 0 {
				return Item{}, fmt.Errorf("%s: %s; want a whole number of tokens", kind, show(value))
			}
			*number = n
		}
	}
	prefixes, err := f.columns(r, "prefix_column")
	if err != nil {
		return Item{}, err
	}
	for _, value := range prefixes {
		text, err := text(value)
		if err != nil {
			return Item{}, fmt.Errorf("prefix_column: %w", err)
		}
		it.PrefixText += text
	}
	values, err := f.columns(r, "text_column")
	if err != nil {
		return Item{}, err
	}
	if !f.cfg.guideLLM {
		it.fields = f.ownFields(r, it.OutputTokens > 0)
	}
	var texts []string
	for _, value := range values {
		if turns, ok := conversation(value); ok {
			return f.conversationItem(it, turns)
		}
		text, err := text(value)
		if err != nil {
			return Item{}, fmt.Errorf("text_column: %w", err)
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return Item{}, fmt.Errorf("%w: none of its columns (%s) is named as one, or that one is empty",
			ErrNoPrompt, strings.Join(slices.Sorted(maps.Keys(r)), ", "))
	}
	it.PromptText = strings.Join(texts, "")
	if len(texts) > 1 { // GuideLLM sends each as a message of its own
		it.Messages = userMessages(it.PrefixText, texts)
	}
	f.measure(&it, "")
	return it, nil
}

func userMessages(prefix string, texts []string) []byte {
	messages := []byte{'['}
	if prefix != "" {
		messages = append(appendSystem(messages, prefix), ',')
	}
	for i, text := range texts {
		if i > 0 {
			messages = append(messages, ',')
		}
		messages = appendUser(messages, text, nil)
	}
	return append(messages, ']')
}

// measure counts what the record does not say. The answer, where there is one, is how long the output is to be; where
// the record bounds the length itself, it is left to the model.
func (f *fileSource) measure(it *Item, answer string) {
	if it.OutputTokens == 0 && !it.isBounded() {
		it.OutputTokens = f.cfg.output
		if answer != "" && f.cfg.count != nil {
			it.OutputTokens = max(1, f.cfg.count(answer))
		}
	}
	if f.cfg.count == nil {
		return
	}
	if it.PromptTokens == 0 {
		it.PromptTokens = f.cfg.count(it.PromptText)
	}
	if it.PrefixText != "" {
		it.PrefixTokens = f.cfg.count(it.PrefixText)
	}
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case json.RawMessage:
		return string(v) == "null"
	}
	return false
}

func text(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.RawMessage:
		var s *string
		if err := json.Unmarshal(v, &s); err != nil {
			return "", fmt.Errorf("%s; want a text or a list of messages", show(value))
		}
		if s != nil {
			return *s, nil
		}
		return "", nil
	}
	return "", fmt.Errorf("%s; want a text", show(value))
}

func show(value any) string {
	if raw, ok := value.(json.RawMessage); ok {
		return fmt.Sprintf("it is %.80s", []byte(raw))
	}
	return fmt.Sprintf("it is %.80q", fmt.Sprint(value))
}

// turn is a message in the form of OpenAI (role, content) or of ShareGPT (from, value).
type turn struct {
	Role, From, Value string
	Content           json.RawMessage
	raw               json.RawMessage

	// Of AIPerf's multi_turn.
	Text         *string
	Delay        json.RawMessage // ms
	OutputLength json.RawMessage `json:"output_length"`
	Extra        json.RawMessage
}

func conversation(value any) ([]turn, bool) {
	raw, ok := value.(json.RawMessage)
	if s, isText := value.(string); isText && strings.HasPrefix(s, `[{"`) { // CSV
		raw, ok = json.RawMessage(s), true
	}
	var turns []turn
	if raw = bytes.TrimSpace(raw); !ok || len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &turns) != nil {
		return nil, false
	}
	isOther := func(t turn) bool { return !slices.Contains(shareGPTRoles, t.From) }
	if !slices.ContainsFunc(turns, isOther) {
		return turns, true // no message of ShareGPT's is sent as it is: the second reading is saved
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return nil, false
	}
	for i, part := range parts {
		turns[i].raw = part
	}
	return turns, true
}

// conversationItem sends a conversation up to its last answer, which says how long the output is to be. Of a ShareGPT
// conversation it takes the first exchange, as other load generators do.
func (f *fileSource) conversationItem(it Item, turns []turn) (Item, error) {
	if len(turns) == 0 {
		return Item{}, errors.New("its conversation is empty")
	}
	if areSpoken(turns) {
		return f.spokenItem(it, turns)
	}
	if f.cfg.sessions != nil {
		return f.sessionItem(it, turns)
	}
	answer := ""
	if turns[0].From != "" {
		for i, t := range turns {
			switch {
			case t.From == "system":
				it.PrefixText = t.Value
			case t.isHuman() && t.Value != "":
				it.PromptText = t.Value
				if i+1 < len(turns) {
					answer = turns[i+1].Value
				}
				if f.found != nil && slices.ContainsFunc(turns[i+1:], turn.isHuman) {
					f.found.further++
				}
			}
			if it.PromptText != "" {
				break
			}
		}
		if it.PromptText == "" {
			return Item{}, errors.New("its conversation has no turn of a human")
		}
	} else {
		if last := turns[len(turns)-1]; last.Role == "assistant" {
			answer = last.text()
			turns = turns[:len(turns)-1]
		}
		var texts []string
		var messages bytes.Buffer
		messages.WriteByte('[')
		if it.PrefixText != "" {
			messages.Write(append(appendSystem(nil, it.PrefixText), ','))
		}
		for i, t := range turns {
			if t.Role == "" || len(t.Content) == 0 {
				const form = "role and content, or from and value"
				return Item{}, fmt.Errorf("message %d of its conversation is %.80s; want %s", i+1, t.raw, form)
			}
			if i > 0 {
				messages.WriteByte(',')
			}
			if err := json.Compact(&messages, t.raw); err != nil {
				return Item{}, err
			}
			texts = append(texts, t.text())
		}
		if len(turns) == 0 {
			return Item{}, errors.New("its conversation has nothing but an answer")
		}
		it.Messages = append(messages.Bytes(), ']')
		it.PromptText = strings.Join(texts, "\n") // for text completions, and to be counted
	}
	f.measure(&it, answer)
	return it, nil
}

// shareGPTRoles are the values of from that are known.
var shareGPTRoles = []string{"system", "human", "user", "gpt", "chatgpt", "assistant"}

// isHuman says whether a turn of ShareGPT's is a question.
func (t turn) isHuman() bool { return t.From == "human" || t.From == "user" }

// text is the content of a message, whether a text or a list of parts.
func (t turn) text() string {
	var s string
	if json.Unmarshal(t.Content, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(t.Content, &parts) // what has no text, such as an image, adds none
	for _, p := range parts {
		s += p.Text
	}
	return s
}
