package loop

import (
	"testing"
)

func TestPostsAreBounded(t *testing.T) {
	var p posts
	for range maxPosts {
		if _, ok := p.put(func() {}, maxPosts); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, ok := p.put(func() {}, maxPosts); ok {
		t.Error("one too many is taken")
	}
	for !p.call(1 << 16) {
	}
	if _, ok := p.put(func() {}, maxPosts); !ok {
		t.Error("refused though there is room")
	}
	p.close()
	if _, ok := p.put(func() {}, maxPosts); ok {
		t.Error("taken after the end")
	}
}

func TestPostAfterTheEndIsRefused(t *testing.T) {
	r := start(t, nil)
	r.stop()
	if r.Post(func() {}) {
		t.Error("a post is taken by a loop that has ended")
	}
	if n := r.metric("homing_front_refused_posts_total"); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
}
