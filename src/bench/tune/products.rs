//! Products: every variant of each distinct one, alone, on random numbers.

use crate::graph::{Plan, Program, Result};
use crate::kernel::matmul::{self, Choice};
use crate::kernel::{BufferId, Target, View, draw, state};
use std::collections::BTreeMap;

/// Of each question, the largest product that asks it.
#[derive(Default)]
pub(super) struct Products {
    pub(super) by_question: BTreeMap<String, Product>,
}

/// A product and the variants that can compute it, the guess first.
pub(super) struct Product {
    call: matmul::Call,
    choices: Vec<Choice>,
}

impl Products {
    /// Adds those of a plan of which a target has a choice.
    pub(super) fn collect(&mut self, plan: &Plan, target: &Target) {
        for call in (0..plan.commands.len()).filter_map(|at| matmul::Call::at(&plan.commands, at)) {
            let views = [&call.a.1, &call.b.1, &call.c.1];
            let choices = matmul::choices(call.form, call.size, views, target);
            if choices.len() < 2 {
                continue;
            }
            let work = |call: &matmul::Call| call.size.iter().product::<usize>();
            let question = matmul::question(call.form, call.size, views);
            match self.by_question.get(&question) {
                Some(known) if work(&known.call) >= work(&call) => {}
                _ => drop(self.by_question.insert(question, Product { call, choices })),
            }
        }
    }
}

impl Product {
    /// What is multiplied, in short.
    pub(super) fn label(&self) -> String {
        let [m, n, k] = self.call.size;
        format!("matmul {:?} {m}x{n}x{k}", self.call.form)
    }

    /// The variants' names.
    pub(super) fn ways(&self) -> Vec<&'static str> {
        self.choices.iter().map(|c| c.variant.name).collect()
    }

    /// A phase that fills the operands, then one for each variant. Operands keep their strides and their alignment, not their
    /// places.
    pub(super) fn plan(&self, target: &Target) -> Result<Plan> {
        let matmul::Call { form, size: [m, n, k], epilogue, .. } = self.call;
        let mut p = Program::new(target.clone());
        let empty = p.empty();
        let state = p.resident("state", state::WORDS)?;
        p.phase("fill");
        let filled = |p: &mut Program, name: &str, elements: usize| -> Result<BufferId> {
            let buffer = p.resident(name, elements)?;
            // Zeros multiply at a higher clock than numbers do.
            p.push(draw::command(draw::Law::Normal, elements, 0, 0, state, empty, (buffer, 0)))?;
            Ok(buffer)
        };
        let [a, b, c] = [self.call.a.1, self.call.b.1, self.call.c.1].map(near);
        let ([a_rows, a_cols], [b_rows, b_cols]) = form.operands([m, n, k]);
        let a = (filled(&mut p, "a", extent(&a, a_rows, a_cols))?, a);
        let b = (filled(&mut p, "b", extent(&b, b_rows, b_cols))?, b);
        let mut epilogue = epilogue;
        if epilogue.bias.is_some() {
            epilogue.bias = Some((filled(&mut p, "bias", n)?, 0));
        }
        if epilogue.residual.is_some() {
            epilogue.residual = Some((filled(&mut p, "residual", m * n)?, View::dense(0, n)));
        }
        let c = (p.resident("c", extent(&c, m, n))?, c);
        for choice in &self.choices {
            p.phase(choice.variant.name);
            p.count_flops(2.0 * m as f64 * n as f64 * k as f64);
            p.push(matmul::command_with(*choice, form, [m, n, k], a, b, c, &epilogue, empty))?;
        }
        p.finish()
    }
}

/// A view at the start of a buffer, as well aligned as it was.
fn near(view: View) -> View {
    View { offset: view.offset % 4, ..view }
}

/// Elements up to the end of what a view of plain rows shows.
fn extent(view: &View, rows: usize, cols: usize) -> usize {
    view.offset as usize + rows.saturating_sub(1) * view.row_stride as usize + cols
}
