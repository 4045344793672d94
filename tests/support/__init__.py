"""What tests share: stock Caffe beside ours, data files, programs to start, sources that executors load."""
