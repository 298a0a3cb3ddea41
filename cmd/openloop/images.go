package main

import "github.com/openloop/openloop/tokens"

// imageSpec is what --images asks for; nil for none.
func (f *specFlags) imageSpec() (*tokens.ImageSpec, error) {
	if f.images == 0 {
		return nil, nil
	}
	width, height, err := tokens.ParseImageSize(f.imageSize)
	if err != nil {
		return nil, usageError("--image-size %q: %w", f.imageSize, err)
	}
	return &tokens.ImageSpec{Count: f.images, Width: width, Height: height}, nil
}

// checkImages says what images can't be combined with.
func (f *specFlags) checkImages() error {
	if f.images == 0 {
		if f.set.Changed("image-size") {
			return usageError("--image-size needs --images: how many each prompt has")
		}
		return nil
	}
	switch {
	case len(f.data) > 0 || f.trace != "":
		return withHint(usageError("--images is for synthetic prompts: --data and --trace have their own"),
			"messages of --data with image_url parts are sent as they are")
	case f.workers.Count > 0:
		return usageError("--images and --workers can't be combined: the leader would send every image to its workers")
	}
	return nil
}
