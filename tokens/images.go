package tokens

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
)

// ImageSpec describes images that are made up: noise in blocks, another one for every image.
type ImageSpec struct {
	Count         int // of each request
	Width, Height int // pixels
}

// Bounds of images: requests are built in memory, and their size is that of the largest body a server may take.
const (
	mostImages = 64
	leastSide  = 16
	mostSide   = 4096
	mostPixels = 1 << 25 // of all images of a request
)

func (s *ImageSpec) check() error {
	switch {
	case s.Count < 1 || s.Count > mostImages:
		return fmt.Errorf("%d images: want 1 to %d", s.Count, mostImages)
	case min(s.Width, s.Height) < leastSide || max(s.Width, s.Height) > mostSide:
		return fmt.Errorf("%d×%d: want sides of %d to %d pixels", s.Width, s.Height, leastSide, mostSide)
	case s.Count*s.Width*s.Height > mostPixels:
		return fmt.Errorf("%d images of %d×%d: want at most %d megapixels a request", s.Count, s.Width, s.Height,
			mostPixels>>20)
	}
	return nil
}

// ParseImageSize reads a size such as 512x512.
func ParseImageSize(text string) (width, height int, err error) {
	var rest string
	n, _ := fmt.Sscanf(text+" .", "%dx%d %s", &width, &height, &rest)
	if n != 3 || rest != "." || fmt.Sprintf("%dx%d", width, height) != text {
		return 0, 0, errors.New("want WIDTHxHEIGHT in pixels, such as 512x512")
	}
	return width, height, nil
}

// imageBlock is the side of the blocks of one colour: JPEG then takes about as many bytes as of a photograph.
const imageBlock = 8

// imageMaker makes images. It keeps its buffers, and is used by one goroutine at a time.
type imageMaker struct {
	spec   ImageSpec
	seed   uint64
	pixels *image.YCbCr
	out    bytes.Buffer
}

func newImageMaker(spec ImageSpec, seed uint64) *imageMaker {
	return &imageMaker{
		spec: spec, seed: seed,
		pixels: image.NewYCbCr(image.Rect(0, 0, spec.Width, spec.Height), image.YCbCrSubsampleRatio420),
	}
}

// parts are the images of request i as parts of a message, each with a comma before it. A request has the same ones in
// every run of a seed.
func (m *imageMaker) parts(i int) []byte {
	var b []byte
	for k := range m.spec.Count {
		source := stream(m.seed, streamImages, uint64(i)*mostImages+uint64(k))
		m.fill(rand.New(&source))
		m.out.Reset()
		// An image that is valid, in memory: nothing can fail.
		if err := jpeg.Encode(&m.out, m.pixels, &jpeg.Options{Quality: 75}); err != nil {
			panic(fmt.Sprintf("tokens: an image that can't be encoded: %v", err))
		}
		b = append(b, `,{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,`...)
		b = base64.StdEncoding.AppendEncode(b, m.out.Bytes())
		b = append(b, `"}}`...)
	}
	return b
}

// fill gives each block of the image a colour.
func (m *imageMaker) fill(r *rand.Rand) {
	p := m.pixels
	fill := func(plane []byte, stride, height, block int) {
		for y := 0; y < height; y += block {
			row := plane[y*stride : (y+1)*stride]
			for x := 0; x < stride; x += block {
				v := byte(r.Uint32())
				for k := x; k < min(x+block, stride); k++ {
					row[k] = v
				}
			}
			for k := y + 1; k < min(y+block, height); k++ {
				copy(plane[k*stride:(k+1)*stride], row)
			}
		}
	}
	fill(p.Y, p.YStride, m.spec.Height, imageBlock)
	fill(p.Cb, p.CStride, (m.spec.Height+1)/2, imageBlock/2)
	fill(p.Cr, p.CStride, (m.spec.Height+1)/2, imageBlock/2)
}

// withImages adds images to the items of a source.
func withImages(from source, spec *ImageSpec, seed uint64) source {
	if spec == nil {
		return from
	}
	m := newImageMaker(*spec, seed)
	return func(i int) (Item, error) {
		it, err := from(i)
		if err == nil {
			it.Images = m.parts(it.Index)
		}
		return it, err
	}
}

// dataURL begins an image within a body.
const dataURL = "data:image/"

// WithoutImages is a request's body with a few words in the place of the images in it, for people and reports.
func WithoutImages(body []byte) []byte {
	if !bytes.Contains(body, []byte(dataURL)) {
		return body
	}
	var out []byte
	for {
		at := bytes.Index(body, []byte(dataURL))
		if at < 0 {
			return append(out, body...)
		}
		end := bytes.IndexByte(body[at:], '"')
		if end < 0 {
			end = len(body) - at
		}
		kind, _, _ := bytes.Cut(body[at:at+end], []byte(","))
		out = append(append(out, body[:at]...), kind[:min(len(kind), 40)]...)
		out = fmt.Appendf(out, ",… (%d bytes left out)", max(end-len(kind)-1, 0))
		body = body[at+end:]
	}
}
