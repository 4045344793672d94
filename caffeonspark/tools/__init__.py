"""Converting data, looking at nets and models, writing deploy nets: tools and commands of the command line."""
