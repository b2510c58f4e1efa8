//! Who may do what, through a real router.
