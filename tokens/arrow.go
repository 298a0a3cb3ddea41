package tokens

import (
	"errors"
	"fmt"
	"io"

	"github.com/openloop/openloop/tokens/arrow"
)

// arrowRecords reads an Arrow file, a batch of rows at a time.
func arrowRecords(path string, input io.ReaderAt, size int64) (next func() (record, place, error), err error) {
	rows, err := arrow.NewReader(io.NewSectionReader(input, 0, size), size)
	if err != nil {
		return nil, fmt.Errorf("%s: not a readable Arrow file: %w", path, err)
	}
	batch := &arrow.Batch{}
	row, at := 0, 0 // of the file, of the batch
	return func() (record, place, error) {
		bad := func(err error) (record, place, error) { return nil, place{}, place{line: row + 1}.error(path, err) }
		for ; at >= batch.Rows; at = 0 {
			next, err := rows.Next()
			if errors.Is(err, io.EOF) {
				return nil, place{}, io.EOF
			}
			if err != nil {
				return bad(err)
			}
			batch = next
		}
		r := make(record, len(batch.Columns))
		for _, column := range batch.Columns {
			value, err := column.Value(at, largestRecord)
			if err != nil {
				return bad(err)
			}
			r[column.Name()] = value
		}
		at++
		row++
		return r, place{line: row}, nil
	}, nil
}
