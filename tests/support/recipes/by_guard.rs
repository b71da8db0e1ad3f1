//! [`Held`](super::Held) for what wraps a guard of ours: that tells all, and how it is let go has a name.

macro_rules! held_by_guard {
    ($wrapper:ty, $let_go:ident $(, $more:item)*) => {
        impl Held for $wrapper {
            fn is_valid(&self) -> bool {
                let guard: &Guard = self;
                guard.is_valid()
            }
            fn valid_until(&self) -> Deadline {
                let guard: &Guard = self;
                guard.valid_until()
            }
            fn token(&self) -> &Token {
                let guard: &Guard = self;
                guard.token()
            }
            fn path(&self) -> &ZkPath {
                let guard: &Guard = self;
                guard.path()
            }
            fn lost(&self) -> BoxFuture<'_, Loss> {
                let guard: &Guard = self;
                guard.lost().boxed()
            }
            fn release(self: Box<Self>) -> BoxFuture<'static, Released> {
                (*self).$let_go().boxed()
            }
            $($more)*
        }
    };
}
