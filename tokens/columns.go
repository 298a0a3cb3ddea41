package tokens

import (
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

// columnRanks are the names of columns that are known, each with its place in the order in which they are looked for:
// the variants of defaultColumns, and behind those of the output's length openloop's own.
var columnRanks = func() map[string]map[string]int {
	ranks := map[string]map[string]int{}
	for kind, defaults := range defaultColumns {
		of := map[string]int{}
		for _, name := range defaults {
			for _, ending := range []string{"", "s", "es"} {
				n := name + ending
				for _, variant := range []string{n, strings.ToUpper(n), strings.ToUpper(n[:1]) + n[1:]} {
					if _, twice := of[variant]; !twice {
						of[variant] = len(of)
					}
				}
			}
		}
		ranks[kind] = of
	}
	for _, name := range outputColumns {
		of := ranks["output_tokens_count_column"]
		of[name] = len(of)
	}
	return ranks
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

// knownColumn is the column of a kind that is looked for first of those that a record has. It asks for each name of the
// record, which has few: of known ones there are many.
func (f *fileSource) knownColumn(r record, kind string) (known string, ok bool) {
	ranks := columnRanks[kind]
	for name := range r {
		if rank, is := ranks[name]; is && (!ok || rank < ranks[known]) &&
			!(f.cfg.guideLLM && slices.Contains(outputColumns, name)) {
			known, ok = name, true
		}
	}
	return known, ok
}

// columns finds the columns of a kind: by default the first known name, with a mapping all that it names.
func (f *fileSource) columns(r record, kind string) ([]any, error) {
	if f.cfg.columns == nil {
		name, ok := f.knownColumn(r, kind)
		if !ok {
			return nil, nil
		}
		f.use(name)
		return []any{r[name]}, nil
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
	if path, ok := savedPath(r); ok {
		if f.path == "" {
			f.path = path
		}
		it, err := savedItem(r)
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
	itemOf := f.plainItem
	if f.cfg.format == Rerank {
		itemOf = f.rerankItem
	}
	it, err := itemOf(r)
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
	if it.PromptTokens, err = f.tokenCount(r, "prompt_tokens_count_column"); err != nil {
		return Item{}, err
	}
	if it.OutputTokens, err = f.tokenCount(r, "output_tokens_count_column"); err != nil {
		return Item{}, err
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
		if list, ok := textList(value); ok && f.cfg.format == Embeddings {
			for _, text := range list {
				it.Texts = append(it.Texts, it.PrefixText+text)
			}
			continue
		}
		text, err := text(value)
		if err != nil {
			return Item{}, fmt.Errorf("text_column: %w", err)
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	if len(it.Texts) > 0 {
		for _, text := range texts {
			it.Texts = append(it.Texts, it.PrefixText+text)
		}
		it.PrefixText = ""
		err := f.measureTexts(&it)
		return it, err
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

// tokenCount is the number in the columns of a kind; 0 where a record has none.
func (f *fileSource) tokenCount(r record, kind string) (n int, err error) {
	values, err := f.columns(r, kind)
	if err != nil {
		return 0, err
	}
	for _, value := range values {
		if empty(value) {
			continue
		}
		if n, err = wholeNumber(value); err != nil || n < 0 {
			return 0, fmt.Errorf("%s: %s; want a whole number of tokens", kind, show(value))
		}
	}
	return n, nil
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
