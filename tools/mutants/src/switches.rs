//! How each kind of mutant becomes a switch. What stands there runs if no switch is on, and each operand runs as often and
//! in the order as before.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Arm, BinOp, Block, Expr, ExprBinary, ExprStruct, ExprUnary, File, ImplItemFn, ItemFn, ReturnType, Signature,
    TraitItemFn, Type,
};

use crate::edit::{Edits, Piece};

pub struct Mutant {
    pub number: usize,
    pub genre: String,
    pub replacement: String,
    /// Where the span begins that cargo-mutants gives it.
    pub at: usize,
}

pub struct Switches<'a> {
    text: &'a str,
    mutants: Vec<Mutant>,
    edits: Edits,
}

fn plain(text: &str) -> Piece {
    (text.to_owned(), None)
}

fn of(mutant: &Mutant, text: String) -> Piece {
    (text, Some(mutant.number))
}

/// `crate::mutant(1) || crate::mutant(2)`, or `false`.
fn any(mutants: &[Mutant]) -> Vec<Piece> {
    let mut pieces = vec![plain("false")];
    pieces.extend(mutants.iter().map(|mutant| of(mutant, format!(" || crate::mutant({})", mutant.number))));
    pieces
}

fn range(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}

/// Whether an expression binds names for what comes after it, and so has to stay where it is.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl<'a> Switches<'a> {
    pub fn new(text: &'a str, mutants: Vec<Mutant>) -> Self {
        Self { text, mutants, edits: Edits::default() }
    }

    pub fn of(&mut self, file: &File) {
        self.visit_file(file);
    }

    /// What is to be edited, and the mutants that have no switch.
    pub fn done(self) -> (Edits, Vec<usize>) {
        (self.edits, self.mutants.iter().map(|mutant| mutant.number).collect())
    }

    /// The mutants of a kind that begin within a range, taken off the list.
    fn take(&mut self, genre: &str, within: Range<usize>) -> Vec<Mutant> {
        let (taken, left) = std::mem::take(&mut self.mutants)
            .into_iter()
            .partition(|mutant| mutant.genre == genre && within.contains(&mutant.at));
        self.mutants = left;
        taken
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let braces = block.brace_token.span;
        let inside = braces.open().byte_range().end..braces.close().byte_range().start;
        // Functions within this one have had theirs.
        let mutants = self.take("FnValue", inside.start - 1..inside.end);
        // What is returned here and there would have to be of one type.
        if matches!(&signature.output, ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_))) {
            self.mutants.extend(mutants);
            return;
        }
        let returns = mutants
            .iter()
            .map(|mutant| {
                of(mutant, format!(" if crate::mutant({}) {{ return {}; }}", mutant.number, mutant.replacement))
            })
            .collect();
        self.edits.around(inside, returns, Vec::new());
    }

    /// `if crate::mutant(1) { l - r } else if crate::mutant(2) { l * r } else { l + r }`.
    fn choice(mutants: &[Mutant], written: &str, left: &str) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = mutants
            .iter()
            .map(|mutant| {
                let (number, other) = (mutant.number, &mutant.replacement);
                of(mutant, format!("if crate::mutant({number}) {{ {left} {other} r }} else "))
            })
            .collect();
        pieces.push(plain(&format!("{{ {left} {written} r }}")));
        pieces
    }

    fn binary(&mut self, binary: &ExprBinary) {
        let operator = range(&binary.op);
        let mutants = self.take("BinaryOperator", operator.clone());
        if mutants.is_empty() {
            return;
        }
        let written = self.text[operator.clone()].to_owned();
        let (all, left, right) = (range(binary), range(&binary.left), range(&binary.right));
        let between = left.end..right.start;
        if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) {
            if binds(&binary.left) || binds(&binary.right) {
                self.mutants.extend(mutants);
                return;
            }
            let goes_on = if matches!(binary.op, BinOp::And(_)) { "mutant_l" } else { "!mutant_l" };
            self.edits.around(all, vec![plain("({ let mutant_l: bool = ")], vec![plain(" } else { mutant_l } })")]);
            let mut pieces = vec![plain(&format!("; if {goes_on} != ("))];
            pieces.extend(any(&mutants));
            pieces.push(plain(") { "));
            self.edits.replace(between, pieces);
            return;
        }
        let is_comparison = matches!(
            binary.op,
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
        );
        // A comparison takes nothing away from its operands, and an assignment changes the left one.
        let (before, middle, name) = if is_comparison {
            ("(match (&(", "), &(", "l")
        } else if written.ends_with('=') {
            ("(match (&mut (", "), (", "*l")
        } else {
            ("(match ((", "), (", "l")
        };
        let mut after = vec![plain(")) { (l, r) => ")];
        after.extend(Self::choice(&mutants, &written, name));
        after.push(plain(" })"));
        self.edits.around(all, vec![plain(before)], after);
        self.edits.replace(between, vec![plain(middle)]);
    }

    fn unary(&mut self, unary: &ExprUnary) {
        let all = range(unary);
        let mutants = self.take("UnaryOperator", all.start..all.start + 1);
        if mutants.is_empty() {
            return;
        }
        let operator = range(&unary.op);
        let written = self.text[operator.clone()].to_owned();
        let mut after = vec![plain(") { l => if ")];
        after.extend(any(&mutants));
        after.push(plain(&format!(" {{ l }} else {{ {written}l }} }})")));
        self.edits.around(all, vec![plain("(match (")], after);
        self.edits.replace(operator, vec![plain("")]);
    }

    fn arm(&mut self, arm: &Arm) {
        let start = arm.pat.span().byte_range().start;
        let first = arm.attrs.first().map_or(start, |attribute| range(attribute).start);
        let deleted = self.take("MatchArm", first..start + 1);
        if let Some((_, guard)) = &arm.guard {
            let place = range(guard);
            let given = self.take("MatchArmGuard", place.start..place.start + 1);
            let (always, never): (Vec<_>, Vec<_>) = given.into_iter().partition(|mutant| mutant.replacement == "true");
            if binds(guard) {
                self.mutants.extend(always.into_iter().chain(never).chain(deleted));
                return;
            }
            if always.is_empty() && never.is_empty() && deleted.is_empty() {
                return;
            }
            let mut before = vec![plain("!(")];
            before.extend(any(&deleted));
            before.push(plain(") && !("));
            before.extend(any(&never));
            before.push(plain(") && (("));
            before.extend(any(&always));
            before.push(plain(") || ("));
            self.edits.around(place, before, vec![plain("))")]);
        } else if !deleted.is_empty() {
            let mut pieces = vec![plain(" if !(")];
            pieces.extend(any(&deleted));
            pieces.push(plain(")"));
            self.edits.around(range(&arm.pat), Vec::new(), pieces);
        }
    }

    fn literal(&mut self, literal: &ExprStruct) {
        let Some(rest) = &literal.rest else { return };
        let rest = self.text[range(rest)].to_owned();
        for field in &literal.fields {
            let start = range(field).start;
            for mutant in self.take("StructField", start..start + 1) {
                let syn::Member::Named(name) = &field.member else { continue };
                let value = format!("if crate::mutant({}) {{ ({rest}).{name} }} else {{ ", mutant.number);
                let before = if field.colon_token.is_some() { value } else { format!("{name}: {value}") };
                self.edits.around(range(&field.expr), vec![of(&mutant, before)], vec![plain(" }")]);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Switches<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        visit::visit_item_fn(self, function);
        self.function(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        visit::visit_impl_item_fn(self, function);
        self.function(&function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        visit::visit_trait_item_fn(self, function);
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        self.binary(binary);
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast ExprUnary) {
        self.unary(unary);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        self.arm(arm);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, literal: &'ast ExprStruct) {
        self.literal(literal);
        visit::visit_expr_struct(self, literal);
    }
}
